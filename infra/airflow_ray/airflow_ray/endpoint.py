"""Where the Jobs API is and how we prove who we are; the token is read where it is used and never handed on."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

ADDRESS_VARIABLES = ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")
CONNECTION_TYPE = "ray"


class ConnectionLike(Protocol):
    """The fields of an Airflow connection that are read here."""

    host: str | None
    port: int | None
    schema: str | None
    password: str | None


@dataclass(frozen=True)
class RayEndpoint:
    """An address such as `http://127.0.0.1:8265` and the headers that authenticate there.

    `repr` leaves the headers out, so that logging an endpoint tells no secret.
    """

    address: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


def resolve_endpoint(
    address: str | None, connection: ConnectionLike | None, environment: Mapping[str, str] = os.environ
) -> RayEndpoint:
    """Return the endpoint: the address from the argument, the connection or the environment, in that order.

    The token comes from the connection's password or, as Ray's own clients do, from RAY_AUTH_TOKEN or the file named
    by RAY_AUTH_TOKEN_PATH. Raises ValueError where no address is given, or it is no plain http(s) one, or Ray's token
    mode is on without a token.
    """
    chosen = address or _connection_address(connection) or _environment_address(environment)
    if not chosen:
        raise ValueError(
            "address: got none, expected it as the operator's `address`, in the Airflow connection `ray_conn_id`, or "
            f"as an http(s) URL in one of {', '.join(ADDRESS_VARIABLES)}"
        )
    return RayEndpoint(check_address(chosen), _token_headers(connection, environment))


def check_address(address: str) -> str:
    """Return the address without a trailing slash; raise ValueError unless it is a bare http(s) URL."""
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ValueError(f"address: got {parts.scheme}://{parts.hostname or ''}, expected http(s)://host[:port][/path]")
    if parts.username or parts.password:
        raise ValueError("address: got a URL with a user or password in it, expected the token in the connection")
    return address.rstrip("/")


def _connection_address(connection: ConnectionLike | None) -> str | None:
    if connection is None or not connection.host:
        return None
    host = connection.host
    if "://" not in host:
        host = f"{connection.schema or 'http'}://{host}"
    return f"{host}:{connection.port}" if connection.port else host


def _environment_address(environment: Mapping[str, str]) -> str | None:
    # RAY_ADDRESS may also name a GCS (`10.0.0.1:6379`, `auto`), which the Jobs API does not answer on.
    found = (environment.get(name, "") for name in ADDRESS_VARIABLES)
    return next((value for value in found if value.startswith(("http://", "https://"))), None)


def _token_headers(connection: ConnectionLike | None, environment: Mapping[str, str]) -> dict[str, str]:
    token = (connection.password if connection else None) or environment.get("RAY_AUTH_TOKEN")
    if not token and (path := environment.get("RAY_AUTH_TOKEN_PATH")):
        token = Path(path).read_text().strip()
    if token:
        return {"Authorization": f"Bearer {token}"}
    if environment.get("RAY_AUTH_MODE", "").lower() == "token":
        raise ValueError(
            "RAY_AUTH_MODE: got 'token' without a token, expected one as the Ray connection's password, in "
            "RAY_AUTH_TOKEN, or in the file named by RAY_AUTH_TOKEN_PATH"
        )
    return {}
