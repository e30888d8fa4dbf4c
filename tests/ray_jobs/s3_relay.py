"""A proxy before the S3 server that passes requests on, or spoils them in the ways that real stores and networks do."""

import http.server
import socket
import struct
import threading
import time
import urllib.error
import urllib.request
from contextlib import contextmanager

from ray_jobs.store import Store

FAULTS = ("unavailable", "conflict", "reset", "lost", "timeout", "truncated", "drip")
"""Not passed on: 503, 409, connection reset. Passed on: reply dropped, held back beyond the client's patience, cut short,
or sent in crumbs."""
READ_TIMEOUT_S = 1
_REFUSALS = {"unavailable": (503, "SlowDown"), "conflict": (409, "ConditionalRequestConflict")}
_NOT_PASSED = ("transfer-encoding", "content-length", "connection", "date", "server")


class Relay(http.server.BaseHTTPRequestHandler):
    """One connection. The server's `fault_of(number, command)` names what happens to a request, or None."""

    protocol_version = "HTTP/1.1"

    def _forward(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        fault = self.server.next_fault(self.command, self.path)
        if fault in _REFUSALS:
            self._refuse(*_REFUSALS[fault])
        elif fault == "reset":
            self._reset()
        else:
            self._answer(fault, *self._ask(body))

    do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = _forward

    def _ask(self, body):
        headers = {k: v for k, v in self.headers.items() if k.lower() not in ("connection", "expect")}
        headers.setdefault("Content-Type", "application/octet-stream")
        if self.server.ignores_conditions:
            headers.pop("If-None-Match", None)
        request = urllib.request.Request(
            self.server.upstream + self.path, data=body or None, method=self.command, headers=headers
        )
        try:
            with urllib.request.urlopen(request, timeout=10) as reply:
                return reply.status, reply.read(), dict(reply.headers)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read(), dict(error.headers)

    def _answer(self, fault, status, content, headers):
        if fault == "timeout":
            time.sleep(READ_TIMEOUT_S * 1.5)
        if fault in ("timeout", "lost"):
            self.close_connection = True
            return
        self.send_response(status)
        for name, value in headers.items():
            if name.lower() not in _NOT_PASSED:
                self.send_header(name, value)
        is_head = self.command == "HEAD"
        self.send_header("Content-Length", headers.get("Content-Length", "0") if is_head else str(len(content)))
        self.end_headers()
        if is_head:
            return
        if fault == "truncated" and len(content) > 1:
            self.wfile.write(content[: len(content) // 2])
            self.close_connection = True
        elif fault == "drip":
            for start in range(0, len(content), max(1, len(content) // 8)):
                self.wfile.write(content[start : start + max(1, len(content) // 8)])
                self.wfile.flush()
                time.sleep(0.02)
        else:
            self.wfile.write(content)

    def _refuse(self, status, code):
        content = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>try again</Message></Error>".encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _reset(self):
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True

    def log_message(self, *args):
        pass


class RelayServer(http.server.ThreadingHTTPServer):
    """Counts requests. ignores_conditions: strips If-None-Match, as some servers do."""

    def __init__(self, upstream):
        super().__init__(("127.0.0.1", 0), Relay)
        self.upstream, self.ignores_conditions = upstream, False
        self.fault_of = lambda number, command: None
        self.requests, self.faults = [], []
        self._lock = threading.Lock()

    def next_fault(self, command, path):
        with self._lock:
            self.requests.append((command, path))
            fault = self.fault_of(len(self.requests), command)
            if fault:
                self.faults.append((fault, command, path))
            return fault

    def handle_error(self, request, client_address):
        """A client that gave up is what this is for."""


@contextmanager
def relayed(store):
    """The S3 store seen through a relay: (store, server)."""
    server = RelayServer(store.options["endpoint_url"])
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    timeouts = {"read_timeout": READ_TIMEOUT_S, "connect_timeout": 5}
    options = {
        **store.options,
        "endpoint_url": f"http://127.0.0.1:{server.server_address[1]}",
        "config_kwargs": timeouts,
    }
    try:
        yield Store(store.uri, options), server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
