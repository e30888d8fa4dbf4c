"""A guarded HTTP fetch: bytes from a public address within limits, or the reason why not.

A URL list is written by strangers, so a fetch must not be a way into the network it runs in. The host is resolved
here, every address it has must be public, and the connection goes to the very address that was checked (a second
look-up could answer differently). Redirects are followed by hand, each through the same door. Bytes, total time and
redirects have caps.
"""

import http.client
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NoReturn
from urllib.parse import urljoin

from pydantic import BaseModel, ConfigDict, Field

from curation.address_guard import Resolver, Target, check_target, parse_target, resolve_host, resolve_within
from curation.deadline_socket import DeadlineSocket, open_socket, remaining_s
from curation.errors import PictureError
from curation.opt_out import Headers
from curation.rejection import Rejection

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_RETRIABLE_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})
_CHUNK_BYTES = 64 * 1024

HeaderCheck = Callable[[Headers], tuple[Rejection, str] | None]
"""Looks at an answer's headers before its body is read; a reason and a message refuse it."""


class FetchSettings(BaseModel):
    """Limits of one fetch; `allowed_hosts` are exact 'host:port' that need not be public (a sample's own server)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    timeout_s: float = Field(default=20.0, gt=0, le=600)
    max_bytes: int = Field(default=32 * 1024 * 1024, ge=1)
    max_redirects: int = Field(default=5, ge=0, le=20)
    content_types: tuple[str, ...] = ("image/", "application/octet-stream", "binary/octet-stream")
    user_agent: str = "Mozilla/5.0 (compatible; pangu-curation)"
    allowed_hosts: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Fetched:
    """What a fetch gave: `body`, or a `reason` and a message.

    `headers` are those of the last answer; `evidence_headers` of every answer on the way, redirects too.
    """

    body: bytes | None
    reason: Rejection | None
    error_message: str | None
    status: int | None
    final_url: str
    address: str | None
    headers: Headers
    evidence_headers: Headers
    is_worth_retrying: bool


@dataclass
class _Trail:
    """What is known of a fetch so far."""

    url: str
    status: int | None = None
    address: str | None = None
    headers: Headers = ()
    evidence_headers: Headers = ()


def fetch(
    url: str, settings: FetchSettings, *, check_headers: HeaderCheck | None = None, resolve: Resolver = resolve_host
) -> Fetched:
    """Fetch within the limits. Raises nothing for anything a URL or a server can do: the reason is in the result."""
    trail = _Trail(url)
    try:
        body = _follow(trail, settings, time.monotonic() + settings.timeout_s, check_headers, resolve)
        return _result(trail, body, None, None)
    except PictureError as error:
        return _result(trail, None, error.reason, str(error))
    except TimeoutError:
        return _result(trail, None, Rejection.TIMED_OUT, f"not complete within {settings.timeout_s:g} s")
    except (OSError, http.client.HTTPException, ValueError) as error:
        return _result(trail, None, Rejection.CONNECTION_FAILED, f"{type(error).__name__}: {error}"[:300])


def _result(trail: _Trail, body: bytes | None, reason: Rejection | None, message: str | None) -> Fetched:
    is_worth_retrying = reason in (Rejection.TIMED_OUT, Rejection.CONNECTION_FAILED, Rejection.BODY_INCOMPLETE) or (
        reason is Rejection.HTTP_ERROR and trail.status in _RETRIABLE_STATUS
    )
    return Fetched(
        body, reason, message, trail.status, trail.url, trail.address, trail.headers, trail.evidence_headers,
        is_worth_retrying,
    )  # fmt: skip


def _follow(
    trail: _Trail, settings: FetchSettings, deadline: float, check_headers: HeaderCheck | None, resolve: Resolver
) -> bytes:
    def resolve_in_time(host: str, port: int) -> Sequence[str]:
        return resolve_within(resolve, host, port, remaining_s(deadline))

    for _ in range(settings.max_redirects + 1):
        target = parse_target(trail.url)
        addresses = check_target(target, settings.allowed_hosts, resolve_in_time)
        sock, trail.address = open_socket(target, addresses, deadline)
        try:
            response = _request(target, sock, settings)
            trail.status = response.status
            trail.headers = tuple(response.getheaders())
            trail.evidence_headers = (*trail.evidence_headers, *trail.headers)
            if check_headers is not None and (refusal := check_headers(trail.headers)) is not None:
                raise PictureError(*refusal)
            if response.status not in _REDIRECTS:
                return _read_body(response, settings)
            location = response.getheader("Location")
            if not location:
                _refuse(Rejection.HTTP_ERROR, f"status {response.status} without a Location")
            trail.url = urljoin(trail.url, location)
        finally:
            sock.disconnect()
    return _refuse(Rejection.TOO_MANY_REDIRECTS, f"more than {settings.max_redirects} redirects")


def _refuse(reason: Rejection, message: str) -> NoReturn:
    raise PictureError(reason, message)


def _request(target: Target, sock: DeadlineSocket, settings: FetchSettings) -> http.client.HTTPResponse:
    """Send the request over the open socket; http.client never opens one of its own."""
    connection = http.client.HTTPConnection(target.host, target.port)
    connection.sock = sock  # type: ignore[assignment]  # the three methods it uses
    connection.putrequest("GET", target.path, skip_host=True, skip_accept_encoding=True)
    for name, value in (
        ("Host", target.authority),
        ("User-Agent", settings.user_agent),
        ("Accept", "image/*,*/*;q=0.5"),
        ("Accept-Encoding", "identity"),
        ("Connection", "close"),
    ):
        connection.putheader(name, value)
    connection.endheaders()
    return connection.getresponse()


def _read_body(response: http.client.HTTPResponse, settings: FetchSettings) -> bytes:
    if response.status != http.client.OK:
        _refuse(Rejection.HTTP_ERROR, f"status {response.status} {response.reason}"[:200])
    content_type = response.getheader("Content-Type", "").strip().lower()
    if content_type and not content_type.startswith(settings.content_types):
        _refuse(Rejection.WRONG_CONTENT_TYPE, f"content type {content_type[:100]!r}")
    encoding = response.getheader("Content-Encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):  # not asked for; unpacking it would need a cap of its own
        _refuse(Rejection.WRONG_CONTENT_TYPE, f"content encoding {encoding[:100]!r}")
    announced = response.length
    if announced is not None and announced > settings.max_bytes:
        _refuse(Rejection.BODY_TOO_LARGE, f"{announced} bytes announced, {settings.max_bytes} allowed")
    body = bytearray()
    try:
        while chunk := response.read1(_CHUNK_BYTES):
            body += chunk
            if len(body) > settings.max_bytes:
                _refuse(Rejection.BODY_TOO_LARGE, f"more than {settings.max_bytes} bytes")
    except http.client.IncompleteRead as error:
        raise PictureError(Rejection.BODY_INCOMPLETE, f"ended after {len(body)} bytes") from error
    if not body or (announced is not None and len(body) < announced):
        _refuse(Rejection.BODY_INCOMPLETE, f"{len(body)} bytes of {announced if announced is not None else 'some'}")
    return bytes(body)
