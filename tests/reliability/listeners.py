"""Who listens, and whether the door is shut: loopback, 401 or 403 over HTTP, or no caller without a token over gRPC."""

import http.client
import ipaddress

import grpc
import psutil

RAY_METHODS = (
    "/ray.rpc.JobInfoGcsService/GetAllJobInfo",
    "/ray.rpc.InternalKVGcsService/InternalKVKeys",
    "/ray.rpc.NodeManagerService/GetNodeStats",
    "/ray.rpc.ObjectManagerService/Pull",
    "/ray.rpc.CoreWorkerService/GetCoreWorkerStats",
    "/ray.rpc.RayletDriver/KVExists",
    "/ray.rpc.RuntimeEnvService/DeleteRuntimeEnvIfPossible",
    "/ray.rpc.ReporterService/GetTraceback",
    "/ray.rpc.LogService/ListLogs",
    "/ray.serve.ASGIService/HandleRequest",
)
REFUSES = (401, 403)
BEHIND = {"airflow serve-logs": "/log/any"}
"""Where the content of a listener stands, when it is not at "/"; by its command."""


def listeners(processes):
    """{(address, port): command} of every TCP socket that these processes listen on."""
    found = {}
    for process in processes:
        try:
            command = " ".join(process.cmdline())[:80]
            for connection in process.net_connections(kind="tcp"):
                if connection.status == psutil.CONN_LISTEN:
                    found[connection.laddr.ip, connection.laddr.port] = command
        except psutil.Error:
            continue
    return found


def is_loopback(address):
    return ipaddress.ip_address(address.removeprefix("::ffff:")).is_loopback


def why_open(address, port, command):
    """None where a stranger is refused; otherwise what came back instead."""
    host = "127.0.0.1" if ipaddress.ip_address(address).is_unspecified else address.removeprefix("::ffff:")
    status = http_status(host, port, BEHIND.get(command.strip(), "/"))
    if status is not None:
        return None if status in REFUSES else f"HTTP {status}"
    codes = {method: grpc_code(host, port, method) for method in RAY_METHODS}
    answered = {method: code for method, code in codes.items() if code not in ("UNAUTHENTICATED", "UNIMPLEMENTED")}
    if answered:
        return f"gRPC {answered}"
    return None if "UNAUTHENTICATED" in codes.values() else "gRPC that says UNIMPLEMENTED to all: no method known"


def http_status(host, port, path):
    """What GET answers; None from whoever does not speak HTTP/1."""
    connection = http.client.HTTPConnection(host, port, timeout=10)
    try:
        connection.request("GET", path, headers={"Host": "stranger.example"})
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def grpc_code(host, port, method):
    """The status code of a call with an empty message and no token."""
    with grpc.insecure_channel(f"{host}:{port}", options=[("grpc.enable_http_proxy", 0)]) as channel:
        call = channel.unary_unary(method, request_serializer=bytes, response_deserializer=bytes)
        try:
            call(b"", timeout=10)
        except grpc.RpcError as error:
            return error.code().name
    return "OK"
