"""A socket that keeps one deadline for a whole exchange: a server that drips a byte a second gains nothing."""

import io
import socket
import ssl
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from curation.address_guard import Target

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


class DeadlineSocket:
    """The part of a socket that `http.client` uses; every operation gets what is left of the time."""

    def __init__(self, sock: socket.socket, deadline: float) -> None:
        """Take over an open socket; `deadline` is in the time of `time.monotonic`."""
        self._sock = sock
        self._deadline = deadline

    def sendall(self, data: bytes) -> None:
        """Send all of it or raise TimeoutError."""
        self._sock.settimeout(remaining_s(self._deadline))
        self._sock.sendall(data)

    def makefile(self, mode: str) -> io.BufferedReader:
        """A buffered reader of the answer."""
        if mode != "rb":
            raise ValueError(f"mode must be 'rb'; got {mode!r}")
        return io.BufferedReader(_DeadlineReader(self._sock, self._deadline))

    def close(self) -> None:
        """Nothing: `http.client` lets go of the socket before the body is read."""

    def disconnect(self) -> None:
        """Close the connection."""
        self._sock.close()


class _DeadlineReader(io.RawIOBase):
    def __init__(self, sock: socket.socket, deadline: float) -> None:
        self._sock = sock
        self._deadline = deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int:
        self._sock.settimeout(remaining_s(self._deadline))
        return self._sock.recv_into(buffer)


def remaining_s(deadline: float) -> float:
    """Seconds until the deadline (`time.monotonic`); TimeoutError when it has passed."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def open_socket(target: Target, addresses: Sequence[str], deadline: float) -> tuple[DeadlineSocket, str]:
    """Connect to the first of the checked addresses that answers; TLS is for the host's name. Also that address."""
    failure: OSError | None = None
    for address in addresses:
        try:
            sock = socket.create_connection((address, target.port), timeout=remaining_s(deadline))
        except TimeoutError:
            raise
        except OSError as error:
            failure = error
            continue
        if target.scheme == "https":
            sock = _wrap_tls(sock, target.host, deadline)
        return DeadlineSocket(sock, deadline), address
    raise failure or OSError(f"no address of {target.host}")


def _wrap_tls(sock: socket.socket, host: str, deadline: float) -> socket.socket:
    try:
        sock.settimeout(remaining_s(deadline))
        return ssl.create_default_context().wrap_socket(sock, server_hostname=host)
    except BaseException:
        sock.close()
        raise
