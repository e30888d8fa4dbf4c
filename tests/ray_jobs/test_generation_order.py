"""What the service refuses, and in which words."""

import json

import pytest

from ray_jobs.generation_order import Offer, Refused, check_caller, digests_of_keys, read_order

BUCKETS = [
    {"index": 0, "structure": [32, 128], "texture": [16, 64]},
    {"index": 1, "structure": [64, 64], "texture": [32, 32]},
]
OFFER = Offer.of_card("abc", "digest", {"structure": {"role": "structure", "buckets": BUCKETS}}, 1)


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({}, "prompt: not given"),
        ({"prompt": ""}, "prompt = ''"),
        ({"prompt": "x", "n": 5}, "n = 5: input should be less than or equal to 4"),
        ({"prompt": "x", "seed": -1}, "seed = -1"),
        ({"prompt": "x", "steps": 101}, "steps = 101"),
        ({"prompt": "x", "response_format": "url"}, "response_format = 'url'"),
        ({"prompt": "x", "quality": "hd"}, "quality: unknown field; accepted are prompt"),
        ({"prompt": "x" * 4001}, "..."),
        ([], "body: it is not a JSON object"),
    ],
)
def test_a_bad_body_is_refused_with_one_sentence(fields, sentence):
    with pytest.raises(Refused) as caught:
        read_order(json.dumps(fields).encode())
    assert caught.value.status == 400
    assert sentence in caught.value.message
    assert len(caught.value.message) < 250 and "\n" not in caught.value.message
    assert caught.value.body()["error"]["type"] == "invalid_request_error"


def test_what_is_no_json_or_too_long_is_refused():
    for body in (b"prompt=x", b"\xff", b" " * 70_000):
        with pytest.raises(Refused, match="body"):
            read_order(body)


def test_sizes_are_width_by_height_of_the_bucket_table():
    assert OFFER.sizes == {"128x32": 0, "64x64": 1}
    assert OFFER.bucket_of(read_order(b'{"prompt": "x"}')) == 1
    assert OFFER.bucket_of(read_order(b'{"prompt": "x", "size": "128x32", "model": "experts@abc"}')) == 0
    with pytest.raises(Refused, match="size = '32x128': accepted are 'auto' and 128x32, 64x64"):
        OFFER.bucket_of(read_order(b'{"prompt": "x", "size": "32x128"}'))
    with pytest.raises(Refused, match="model") as caught:
        OFFER.bucket_of(read_order(b'{"prompt": "x", "model": "dall-e"}'))
    assert caught.value.status == 404


def test_with_keys_only_who_has_one_comes_in():
    digests = digests_of_keys("first-key, second-key,")
    assert len(digests) == 2 and not any("key" in digest for digest in digests)
    check_caller({"authorization": "Bearer second-key"}, "203.0.113.9", digests)
    for headers in (
        {},
        {"authorization": "Bearer wrong"},
        {"authorization": "Basic first-key"},
        {"authorization": "Bearer"},
    ):
        with pytest.raises(Refused) as caught:
            check_caller(headers, "127.0.0.1", digests)
        assert caught.value.status == 401


def test_without_keys_only_programs_on_this_machine_come_in():
    nobody = frozenset()
    for host in ("127.0.0.1:8000", "localhost", "[::1]:8000"):
        check_caller({"host": host}, "127.0.0.1", nobody)
    for headers, client in (
        ({"host": "127.0.0.1:8000"}, "203.0.113.9"),
        ({"host": "127.0.0.1:8000"}, None),
        ({"host": "rebound.example:8000"}, "127.0.0.1"),
        ({"host": "127.0.0.1:8000", "origin": "https://page.example"}, "127.0.0.1"),
        ({}, "127.0.0.1"),
    ):
        with pytest.raises(Refused) as caught:
            check_caller(headers, client, nobody)
        assert caught.value.status == 403
