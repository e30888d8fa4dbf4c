"""Who comes in, as whom, and who does not."""

import pytest

from ray_jobs.service.callers import LOCAL, Keyring
from ray_jobs.service.refusal import Refused

KEYS = Keyring.of_text("first-long-key, alice:second-long-key,alice:third-long-key,")
NONE = Keyring({})


def admit(keys, headers, host="203.0.113.9"):
    try:
        return keys.admit(headers, host)
    except Refused as refused:
        return refused.refusal.status


def test_a_key_is_a_tenant_and_several_may_be_one():
    assert not any("key" in digest for digest in KEYS.tenants)
    assert admit(KEYS, {"authorization": "Bearer second-long-key"}) == "alice"
    assert admit(KEYS, {"authorization": "bearer third-long-key"}) == "alice"
    assert admit(KEYS, {"authorization": "Bearer first-long-key"}).startswith("key-")


@pytest.mark.reliability(17)
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Bearer"},
        {"authorization": "Bearer wrong-long-key-"},
        {"authorization": "Basic first-long-key"},
        {"authorization": "first-long-key"},
        {"authorization": "Bearer first-long-key, second-long-key"},
        {"authorization": "Bearer alice:second-long-key"},
    ],
)
def test_with_keys_whoever_has_none_is_401(headers):
    assert admit(KEYS, headers, "127.0.0.1") == 401


@pytest.mark.reliability(17)
@pytest.mark.parametrize(
    ("headers", "client", "expected"),
    [
        ({"host": "127.0.0.1:8000"}, "127.0.0.1", LOCAL),
        ({"host": "localhost"}, "::1", LOCAL),
        ({"host": "[::1]:8000"}, "127.0.0.1", LOCAL),
        ({"host": "127.0.0.1:8000", "origin": "http://127.0.0.1:8000"}, "127.0.0.1", LOCAL),
        ({"host": "127.0.0.1:8000", "origin": "http://127.0.0.1:8001"}, "127.0.0.1", 403),
        ({"host": "127.0.0.1:8000", "origin": "https://evil.example"}, "127.0.0.1", 403),
        ({"host": "127.0.0.1:8000", "origin": "null"}, "127.0.0.1", 403),
        ({"host": "127.0.0.1:8000", "sec-fetch-site": "cross-site"}, "127.0.0.1", 403),
        ({"host": "rebound.example:8000"}, "127.0.0.1", 403),
        ({"host": "rebound.example", "origin": "http://rebound.example"}, "127.0.0.1", 403),
        ({}, "127.0.0.1", 403),
        ({"host": "127.0.0.1:8000"}, "192.0.2.7", 403),
        ({"host": "127.0.0.1:8000"}, None, 403),
    ],
)
def test_without_keys_this_machine_alone_comes_in(headers, client, expected):
    assert admit(NONE, headers, client) == expected


def test_a_short_key_is_no_key():
    with pytest.raises(ValueError, match="key 2 has 5 characters"):
        Keyring.of_text("first-long-key,bob:short")
