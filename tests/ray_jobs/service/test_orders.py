"""What the service refuses, and in which words."""

import json

import pytest

from ray_jobs.service.offer import Offer
from ray_jobs.service.orders import ImageOrder, read_order
from ray_jobs.service.refusal import Refused

BUCKETS = [
    {"index": 0, "structure": [32, 128], "texture": [16, 64]},
    {"index": 1, "structure": [64, 64], "texture": [32, 32]},
]
CARD = {"structure": {"role": "structure", "buckets": BUCKETS}, "prefixes": {"cartoon": "饅 "}}
OFFER = Offer.of_card("experts@champion", "abc", "digest", CARD, 1)


def read(fields):
    return read_order(ImageOrder, json.dumps(fields).encode())


@pytest.mark.parametrize(
    ("fields", "sentence", "code"),
    [
        ({}, "prompt: not given", "missing_required_parameter"),
        ({"prompt": ""}, "prompt = ''", "invalid_value"),
        ({"prompt": "x", "n": 5}, "n = 5: input should be less than or equal to 4", "invalid_value"),
        ({"prompt": "x", "seed": -1}, "seed = -1", "invalid_value"),
        ({"prompt": "x", "steps": 101}, "steps = 101", "invalid_value"),
        ({"prompt": "x", "response_format": "ftp"}, "response_format = 'ftp'", "invalid_value"),
        ({"prompt": "x", "colour": "hd"}, "colour: unknown field; accepted are n, size", "unknown_parameter"),
        ({"prompt": "x", "styles": {"cartoon": 31}}, "styles.cartoon: 31.0; accepted is 0 to 30", "invalid_value"),
        ({"prompt": "x", "stream": True, "response_format": "url"}, "stream: accepted neither", "invalid_value"),
        ({"prompt": "x" * 4001}, "...", "invalid_value"),
        ([], "body: it is not a JSON object", None),
    ],
)
def test_a_bad_body_is_refused_with_one_sentence(fields, sentence, code):
    with pytest.raises(Refused) as caught:
        read(fields)
    refusal = caught.value.refusal
    assert (refusal.status, refusal.code) == (400, code)
    assert sentence in refusal.message and "\n" not in refusal.message
    assert refusal.body()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize("body", [b"prompt=x", b"\xff", b"", b"null", b"[" * 10_000])
def test_what_is_no_json_object_is_refused(body):
    with pytest.raises(Refused, match="body"):
        read_order(ImageOrder, body)


def test_a_null_counts_as_not_given():
    assert read({"prompt": "x", "n": None, "size": None}) == read({"prompt": "x"})
    with pytest.raises(Refused, match="prompt: not given"):
        read({"prompt": None})


def test_sizes_are_width_by_height_of_the_bucket_table():
    assert OFFER.sizes == {"128x32": 0, "64x64": 1} and OFFER.styles == ("cartoon",)
    assert OFFER.bucket_of(read({"prompt": "x"})) == 1
    assert OFFER.bucket_of(read({"prompt": "x", "size": "128x32", "model": "experts@abc"})) == 0
    assert OFFER.bucket_of(read({"prompt": "x", "model": "experts@champion"})) == 1
    for fields, said, status in (
        ({"size": "32x128"}, "size = '32x128': accepted are auto, 128x32, 64x64", 400),
        ({"model": "dall-e"}, "accepted are experts, experts@champion, experts@abc", 404),
        ({"styles": {"baroque": 1}}, "styles.baroque: accepted are cartoon", 400),
    ):
        with pytest.raises(Refused, match=said) as caught:
            OFFER.bucket_of(read({"prompt": "x", **fields}))
        assert caught.value.refusal.status == status
