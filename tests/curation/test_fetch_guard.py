"""No URL reaches a listener on a private address, and every cap holds."""

import socket
import time

import pytest

from curation.address_guard import is_public
from curation.fetch_guard import FetchSettings, fetch
from curation.rejection import Rejection


@pytest.fixture(autouse=True)
def no_packet_leaves_this_machine(monkeypatch):
    """A hole in the guard is a failing test, not a visit to somebody's metadata service."""
    connect = socket.socket.connect

    def connect_to_loopback(self, address):
        assert str(address[0]) in ("127.0.0.1", "::1"), f"connection to {address}"
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", connect_to_loopback)


SETTINGS = FetchSettings(timeout_s=3.0, max_bytes=10_000, max_redirects=3)

# {p} is the canary's port. Each form must end without a byte from the canary.
HOSTILE = [
    # other schemes
    "file:///etc/passwd", "file://localhost/etc/passwd", "FILE:///etc/passwd", "file:/etc/passwd",
    "data:image/png;base64,iVBORw0KGgo=", "ftp://127.0.0.1:{p}/", "gopher://127.0.0.1:{p}/_GET", "dict://127.0.0.1:{p}/",
    "ws://127.0.0.1:{p}/", "jar:http://127.0.0.1:{p}/!/", "netdoc:///etc/passwd", "//127.0.0.1:{p}/", "127.0.0.1:{p}/", "",
    "http:", "http://", "http:///path", "javascript:alert(1)", "ldap://127.0.0.1:{p}/",
    # loopback, plainly and in disguise
    "http://127.0.0.1:{p}/", "https://127.0.0.1:{p}/", "HTTP://127.0.0.1:{p}/", "http://localhost:{p}/",
    "http://LOCALHOST:{p}/", "http://localhost.:{p}/", "http://127.1:{p}/", "http://127.0.1:{p}/", "http://127.255.255.254:{p}/",
    "http://2130706433:{p}/", "http://017700000001:{p}/", "http://0x7f000001:{p}/", "http://0x7f.0.0.1:{p}/",
    "http://0177.0.0.1:{p}/", "http://0177.0.0.0x1:{p}/", "http://127.0.0.1.:{p}/", "http://0:{p}/", "http://0.0.0.0:{p}/",
    "http://00.00.00.00:{p}/", "http://127.00.00.01:{p}/", "http://１２７.０.０.１:{p}/", "http://127。0。0。1:{p}/", "http://ⓛocalhost:{p}/",
    "http://%31%32%37.0.0.1:{p}/", "http://127.0.0.1%00.example.com:{p}/",
    # IPv6
    "http://[::1]:{p}/", "http://[::]:{p}/", "http://[0:0:0:0:0:0:0:1]:{p}/", "http://[::ffff:127.0.0.1]:{p}/",
    "http://[::ffff:7f00:1]:{p}/", "http://[::127.0.0.1]:{p}/", "http://[64:ff9b::127.0.0.1]:{p}/",
    "http://[2002:7f00:1::]:{p}/", "http://[fe80::1%25lo]:{p}/", "http://[fc00::1]:{p}/", "http://[::1%25lo]:{p}/",
    # user names, backslashes, spaces and other places where parsers disagree
    "http://example.com@127.0.0.1:{p}/", "http://user:pw@127.0.0.1:{p}/", "http://127.0.0.1:{p}\\@example.com/",
    "http://example.com\\@127.0.0.1:{p}/", "http:\\\\127.0.0.1:{p}/", "http://127.0.0.1:{p}#@example.com/",
    "http://127.0.0.1 :{p}/", " http://127.0.0.1:{p}/", "http://127.0.0.1:{p}/\r\nX: y", "http://example.com\t@127.0.0.1:{p}/",
    "http://127.0.0.1:{p}/%0d%0aX:%20y", "http://[::1]@127.0.0.1:{p}/", "http://127.0.0.1:99999/", "http://[::1/", "http://127.0.0.1:{p}:80/",
    # private ranges, metadata services
    "http://10.0.0.1:{p}/", "http://172.16.0.1:{p}/", "http://192.168.0.1:{p}/", "http://169.254.169.254/latest/meta-data/",
    "http://[fd00:ec2::254]/latest/", "http://100.64.0.1/", "http://192.0.0.192/", "http://198.18.0.1/", "http://224.0.0.1/",
    "http://255.255.255.255/", "http://0xA9FEA9FE/", "http://2852039166/",
]  # fmt: skip


@pytest.mark.reliability(19)
def test_there_are_at_least_sixty_hostile_urls() -> None:
    assert len(set(HOSTILE)) >= 60


@pytest.mark.reliability(19)
@pytest.mark.parametrize("form", HOSTILE)
def test_hostile_url_never_reaches_the_canary(site, form: str) -> None:
    site.serve("/", b"canary")
    result = fetch(form.replace("{p}", str(site.port)), SETTINGS)
    assert site.hits == []
    assert result.body is None
    assert result.reason in {Rejection.INVALID_URL, Rejection.BLOCKED_ADDRESS, Rejection.UNRESOLVED_HOST}


@pytest.mark.reliability(19)
@pytest.mark.parametrize(
    ("address", "is_on_the_internet"),
    [
        ("93.184.215.14", True), ("1.1.1.1", True), ("2606:4700:4700::1111", True), ("::ffff:1.1.1.1", True),
        ("64:ff9b::101:101", True), ("172.15.255.255", True), ("172.32.0.1", True), ("100.63.0.1", True),
        ("192.0.0.192", False), ("100.127.0.1", False), ("::ffff:10.0.0.1", False), ("64:ff9b::a00:1", False),
        ("2002:a00:1::", False), ("2001:0:4136:e378:8000:63bf:3fff:fdd2", False), ("fe80::1%eth0", False), ("::", False),
        ("64:ff9b:1::1", False), ("ff02::1", False), ("fec0::1", False), ("not an address", False), ("", False),
    ],
)  # fmt: skip
def test_address_table(address: str, is_on_the_internet: bool) -> None:
    assert is_public(address) is is_on_the_internet


@pytest.mark.reliability(19)
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize(
    "location",
    ["http://127.0.0.1:{p}/", "//127.0.0.1:{p}/", "http://2130706433:{p}/", "file:///etc/passwd", "http://[::1]:{p}/"],
)
def test_redirect_passes_the_same_door(make_site, status: int, location: str) -> None:
    canary, front = make_site(), make_site()
    canary.serve("/", b"canary")
    url = front.serve("/a", b"", status=status, headers=[("Location", location.replace("{p}", str(canary.port)))])
    result = fetch(url, SETTINGS.model_copy(update={"allowed_hosts": frozenset({front.host_port})}))
    assert front.hits == ["/a"]
    assert canary.hits == []
    assert result.reason in {Rejection.BLOCKED_ADDRESS, Rejection.INVALID_URL}


@pytest.mark.reliability(19)
def test_a_resolver_that_changes_its_answer_is_asked_once(site) -> None:
    answers = iter([["192.0.2.1"], ["127.0.0.1"]])
    asked = []

    def rebinding(host: str, port: int) -> list[str]:
        asked.append(host)
        return next(answers)

    result = fetch(f"http://rebind.test:{site.port}/", SETTINGS, resolve=rebinding)
    assert asked == ["rebind.test"]
    assert site.hits == []
    assert result.reason is Rejection.BLOCKED_ADDRESS  # TEST-NET-1 is not public either


@pytest.mark.reliability(19)
def test_one_private_address_among_public_ones_refuses_the_host(site) -> None:
    result = fetch(f"http://mixed.test:{site.port}/", SETTINGS, resolve=lambda *_: ["93.184.215.14", "127.0.0.1"])
    assert (result.reason, site.hits) == (Rejection.BLOCKED_ADDRESS, [])


@pytest.mark.reliability(19)
def test_the_connection_goes_to_the_checked_address(site) -> None:
    """The name resolves nowhere but in our resolver, so a second look-up would fail."""
    site.serve("/x", b"body")
    settings = SETTINGS.model_copy(update={"allowed_hosts": frozenset({f"named.invalid:{site.port}"})})
    result = fetch(f"http://named.invalid:{site.port}/x", settings, resolve=lambda *_: ["127.0.0.1"])
    assert (result.body, result.address) == (b"body", "127.0.0.1")


@pytest.mark.reliability(19)
def test_allow_list_is_exact(site, make_site) -> None:
    site.serve("/", b"body")
    other = make_site()
    settings = SETTINGS.model_copy(update={"allowed_hosts": frozenset({site.host_port})})
    assert fetch(site.url("/"), settings).body == b"body"
    assert fetch(other.url("/"), settings).reason is Rejection.BLOCKED_ADDRESS
    assert fetch(f"http://localhost:{site.port}/", settings).reason is Rejection.BLOCKED_ADDRESS


@pytest.fixture
def open_settings(site) -> FetchSettings:
    return SETTINGS.model_copy(update={"allowed_hosts": frozenset({site.host_port})})


def test_body_status_and_headers(site, open_settings) -> None:
    url = site.serve("/a", b"abc", headers=[("Content-Type", "image/png"), ("X-Twice", "1"), ("X-Twice", "2")])
    result = fetch(url, open_settings)
    assert (result.body, result.status, result.reason) == (b"abc", 200, None)
    assert [value for name, value in result.headers if name == "X-Twice"] == ["1", "2"]


def test_redirect_to_an_allowed_place_is_followed_and_its_headers_kept(site, open_settings) -> None:
    site.serve("/b", b"there")
    url = site.serve("/a", b"", status=302, headers=[("Location", "/b"), ("X-Robots-Tag", "noai")])
    result = fetch(url, open_settings)
    assert (result.body, result.final_url) == (b"there", site.url("/b"))
    assert ("X-Robots-Tag", "noai") in result.evidence_headers


@pytest.mark.reliability(19)
def test_redirect_cap(site, open_settings) -> None:
    url = site.serve("/loop", b"", status=302, headers=[("Location", "/loop")])
    assert fetch(url, open_settings).reason is Rejection.TOO_MANY_REDIRECTS
    assert len(site.hits) == open_settings.max_redirects + 1


@pytest.mark.reliability(19)
def test_byte_cap_with_and_without_an_announcement(site, open_settings) -> None:
    url = site.serve("/big", b"x" * 20_000)
    assert fetch(url, open_settings).reason is Rejection.BODY_TOO_LARGE
    site.replies["/big"].headers.append(("Transfer-Encoding", "chunked"))
    site.replies["/big"].body = b"4e20\r\n" + b"x" * 20_000 + b"\r\n0\r\n\r\n"
    assert fetch(url, open_settings).reason is Rejection.BODY_TOO_LARGE


@pytest.mark.reliability(19)
def test_time_cap_holds_against_a_dripping_server(site, open_settings) -> None:
    url = site.serve("/slow", b"x" * 200, drip_s=0.05)
    started = time.monotonic()
    result = fetch(url, open_settings.model_copy(update={"timeout_s": 0.4}))
    assert result.reason is Rejection.TIMED_OUT
    assert time.monotonic() - started < 3.0


@pytest.mark.reliability(19)
def test_time_cap_holds_against_a_resolver_that_hangs(open_settings) -> None:
    started = time.monotonic()
    settings = open_settings.model_copy(update={"timeout_s": 0.2})
    result = fetch("http://hangs.test/", settings, resolve=lambda *_: time.sleep(2) or [])
    assert (result.reason, result.body) == (Rejection.TIMED_OUT, None)
    assert time.monotonic() - started < 1.5


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"status": 404}, Rejection.HTTP_ERROR),
        ({"status": 204}, Rejection.HTTP_ERROR),
        ({"status": 302, "headers": []}, Rejection.HTTP_ERROR),
        ({"headers": [("Content-Type", "text/html; charset=utf-8")]}, Rejection.WRONG_CONTENT_TYPE),
        ({"headers": [("Content-Encoding", "gzip")]}, Rejection.WRONG_CONTENT_TYPE),
        ({"announced": 100}, Rejection.BODY_INCOMPLETE),
        ({"announced": 0}, Rejection.BODY_INCOMPLETE),
    ],
)
def test_answer_that_is_no_picture(site, open_settings, options, reason) -> None:
    result = fetch(site.serve("/a", b"abc", **options), open_settings)
    assert (result.body, result.reason) == (None, reason)


def test_headers_are_checked_before_the_body(site, open_settings) -> None:
    url = site.serve("/a", b"x" * 5_000, drip_s=0.01)
    started = time.monotonic()
    result = fetch(url, open_settings, check_headers=lambda _: (Rejection.OPTED_OUT, "said so"))
    assert (result.reason, result.error_message) == (Rejection.OPTED_OUT, "said so")
    assert time.monotonic() - started < 2.0


def test_closed_port_is_worth_a_retry(site, open_settings) -> None:
    settings = open_settings.model_copy(update={"allowed_hosts": frozenset({"127.0.0.1:1"})})
    result = fetch("http://127.0.0.1:1/", settings)
    assert (result.reason, result.is_worth_retrying) == (Rejection.CONNECTION_FAILED, True)
