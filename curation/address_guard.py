"""Which addresses a URL may lead to: public ones only, checked after resolving and in every disguise."""

import ipaddress
import re
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from curation.errors import PictureError
from curation.rejection import Rejection

Resolver = Callable[[str, int], Sequence[str]]
"""(host, port) to numeric addresses; raises OSError where there are none."""

_MAX_URL_CHARS = 8192
_DEFAULT_PORTS = {"http": 80, "https": 443}
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_HOST = re.compile(r"[a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?\.?|[0-9a-f:.]+")


@dataclass(frozen=True)
class Target:
    """Where a URL leads: `host` in lower-case ASCII without brackets, `path` with the query, ready to be sent."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def host_port(self) -> str:
        """'host:port', as an allow-list names it."""
        return f"{self.host}:{self.port}"

    @property
    def authority(self) -> str:
        """The value of the Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"


def parse_target(url: str) -> Target:
    """Take the URL apart; PictureError where it is not plain http(s): parsers disagree about the rest."""
    if len(url) > _MAX_URL_CHARS or re.search(r"[\x00-\x20\x7f\\]", url):
        raise PictureError(
            Rejection.INVALID_URL, "the URL is too long or holds a space, control character or backslash"
        )
    try:
        parts = urlsplit(url)
        scheme, port = parts.scheme.lower(), parts.port
    except ValueError as error:
        raise PictureError(Rejection.INVALID_URL, f"the URL cannot be parsed: {error}") from error
    if scheme not in _DEFAULT_PORTS:
        raise PictureError(Rejection.INVALID_URL, f"scheme {scheme[:20]!r}; only http and https are fetched")
    if "@" in parts.netloc:
        raise PictureError(Rejection.INVALID_URL, "the URL carries a user name")
    path = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~-._")
    query = quote(parts.query, safe="/%:@!$&'()*+,;=~-._?")
    return Target(
        scheme, _ascii_host(parts.hostname or ""), port or _DEFAULT_PORTS[scheme], path + ("?" + query) * bool(query)
    )


def check_target(target: Target, allowed_hosts: frozenset[str], resolve: Resolver) -> Sequence[str]:
    """The addresses to connect to, each of them public; a host with one private address is refused altogether."""
    try:
        addresses = list(dict.fromkeys(resolve(target.host, target.port)))
    except (OSError, UnicodeError) as error:
        raise PictureError(Rejection.UNRESOLVED_HOST, f"{target.host[:100]}: {error}") from error
    if not addresses:
        raise PictureError(Rejection.UNRESOLVED_HOST, f"{target.host[:100]} has no address")
    if target.host_port not in allowed_hosts:
        for address in addresses:
            if not is_public(address):
                raise PictureError(Rejection.BLOCKED_ADDRESS, f"{target.host[:100]} leads to {address}, not public")
    return addresses


def is_public(address: str) -> bool:
    """Whether a numeric address is on the public internet, and so is any IPv4 address wrapped in it."""
    try:
        ip = ipaddress.ip_address(address.split("%")[0])
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        embedded = _embedded_v4(ip)
        if any(not is_public(str(inner)) for inner in embedded):
            return False
        if ip.ipv4_mapped is not None:
            return True
    return ip.is_global and not (ip.is_multicast or ip.is_reserved or ip.is_unspecified or ip.is_loopback)


def _embedded_v4(ip: ipaddress.IPv6Address) -> list[ipaddress.IPv4Address]:
    """IPv4 addresses that a packet to this address may end at: mapped, compatible, 6to4, Teredo, NAT64."""
    found = [inner for inner in (ip.ipv4_mapped, ip.sixtofour) if inner is not None]
    if ip.teredo is not None:
        found += ip.teredo
    if ip in _NAT64 or int(ip) >> 32 == 0:
        found.append(ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF))
    return found


def resolve_host(host: str, port: int) -> Sequence[str]:
    """The system's answer. It knows IPv4's decimal, octal and hex forms too, which is why the answer is checked."""
    return [str(entry[4][0]) for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


def _ascii_host(host: str) -> str:
    try:
        ascii_host = host.encode("idna").decode("ascii").lower() if not host.isascii() else host.lower()
    except UnicodeError as error:
        raise PictureError(Rejection.INVALID_URL, f"host {host[:100]!r} has no ASCII form") from error
    bare = ascii_host.split("%")[0]  # a zone identifier
    if not _HOST.fullmatch(bare):
        raise PictureError(Rejection.INVALID_URL, f"host {host[:100]!r} is no host name")
    return ascii_host
