"""Which addresses a URL may lead to: public ones only, checked after resolving and in every disguise."""

import ipaddress
import queue
import re
import socket
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from curation.errors import PictureError
from curation.rejection import Rejection

Resolver = Callable[[str, int], Sequence[str]]
"""(host, port) to numeric addresses; raises OSError where there are none."""

_MAX_URL_CHARS = 8192
_DEFAULT_PORTS = {"http": 80, "https": 443}
_NOT_PUBLIC_V4 = tuple(
    ipaddress.IPv4Network(text)
    for text in [
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.31.196.0/24",
        "192.52.193.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "192.175.48.0/24",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
    ]
)
_UNICAST_V6 = ipaddress.IPv6Network("2000::/3")
_NOT_PUBLIC_V6 = tuple(ipaddress.IPv6Network(text) for text in ["2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"])
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
    except TimeoutError:
        raise
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
    """Whether a numeric address is on the public internet; of IPv4 in IPv6 (mapped, NAT64) the inner one decides.

    The tables are ours, from the IANA special-purpose registries: `ipaddress.is_global` differs between Python
    releases, and calls 192.0.0.192, where a cloud keeps its credentials, global in some. Tunnels (6to4, Teredo)
    are not public: where they end is written in the address by whoever made it.
    """
    try:
        ip = ipaddress.ip_address(address.split("%")[0])
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or (ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF) if ip in _NAT64 else None)
        if inner is None:
            return ip in _UNICAST_V6 and not any(ip in network for network in _NOT_PUBLIC_V6)
        ip = inner
    return not any(ip in network for network in _NOT_PUBLIC_V4)


def resolve_host(host: str, port: int) -> Sequence[str]:
    """The system's answer. It knows IPv4's decimal, octal and hex forms too, which is why the answer is checked."""
    return [str(entry[4][0]) for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


def resolve_within(resolve: Resolver, host: str, port: int, timeout_s: float) -> Sequence[str]:
    """`resolve`'s answer, or TimeoutError: the system's look-up takes no time limit, so it gets a thread to hang in."""
    answers: queue.SimpleQueue[Sequence[str] | Exception] = queue.SimpleQueue()

    def ask() -> None:
        try:
            answers.put(resolve(host, port))
        except Exception as error:  # handed over to the asking thread
            answers.put(error)

    threading.Thread(target=ask, name=f"resolve {host[:50]}", daemon=True).start()
    try:
        answer = answers.get(timeout=timeout_s)
    except queue.Empty:
        raise TimeoutError from None
    if isinstance(answer, Exception):
        raise answer
    return answer


def _ascii_host(host: str) -> str:
    try:
        ascii_host = host.encode("idna").decode("ascii").lower() if not host.isascii() else host.lower()
    except UnicodeError as error:
        raise PictureError(Rejection.INVALID_URL, f"host {host[:100]!r} has no ASCII form") from error
    bare = ascii_host.split("%")[0]  # a zone identifier
    if not _HOST.fullmatch(bare):
        raise PictureError(Rejection.INVALID_URL, f"host {host[:100]!r} is no host name")
    return ascii_host
