"""The libraries of this package one after the other, over a real server: list, images, scores, training set."""

import random
from collections import Counter
from itertools import pairwise

import pyarrow as pa
import pytest

from curation.buckets import SAMPLE_BUCKETS
from curation.download import DownloadSettings, download_part
from curation.fetch_guard import FetchSettings
from curation.fingerprint import sha256_hex
from curation.records import IMAGES, OBSERVATIONS, SCORES, TRAINING_SET
from curation.rules import RuleSettings
from curation.scoring import score_part
from curation.training_rows import TrainingSetSettings, build_training_rows, training_funnel
from curation.url_list import make_url_list


@pytest.fixture
def settings(site) -> DownloadSettings:
    fetch = FetchSettings(timeout_s=3.0, allowed_hosts=frozenset({site.host_port}))
    return DownloadSettings(fetch=fetch, threads=4, retries=1, backoff_s=0.01, buckets=SAMPLE_BUCKETS)


@pytest.fixture
def rows(site, make_picture, encode) -> list[dict[str, object]]:
    png = [encode(make_picture(seed, (96 + 16 * seed, 72))) for seed in range(6)]
    found = [
        {"url": site.serve(f"/{seed}.png", body), "caption": f"picture {seed}", "sha256": sha256_hex(body)}
        for seed, body in enumerate(png)
    ]
    cmyk = encode(make_picture(11, (120, 160), "CMYK"), "JPEG")
    found += [
        {"url": site.serve("/same.png", png[2]), "caption": "picture two again"},
        {
            "url": site.serve("/near.jpg", encode(make_picture(3, (72, 36)), "JPEG")),
            "caption": "picture three, smaller",
        },
        {"url": site.serve("/cmyk.jpg", cmyk), "caption": "一张彩色的画"},
        {"url": site.serve("/mute.png", encode(make_picture(12)))},
        {"url": site.serve("/tiny.png", encode(make_picture(13, (12, 12)))), "caption": "tiny"},
        {"url": site.serve("/cut.jpg", cmyk[: len(cmyk) // 2]), "caption": "cut"},
        {"url": site.serve("/changed.png", png[0]), "caption": "changed", "sha256": "0" * 64},
        {"url": site.serve("/text.png", b"hello, world"), "caption": "text"},
        {"url": site.url("/missing.png"), "caption": "missing"},
        {"url": site.serve("/busy.png", encode(make_picture(14)), fail_first=1), "caption": "busy once"},
        {"url": site.serve("/no.png", png[5], headers=[("X-Robots-Tag", "noai")]), "caption": "reserved"},
        {"url": "file:///etc/hostname", "caption": "file"},
    ]
    return found


EXPECTED = {
    "duplicate_exact": 1,
    "duplicate_perceptual": 1,
    "no_caption": 1,
    "side_too_short": 1,
    "truncated": 1,
    "hash_mismatch": 1,
    "unknown_format": 1,
    "http_error": 1,
    "opted_out": 1,
    "invalid_url": 1,
}


def run_chain(rows, settings, scorer, heads, num_parts: int) -> tuple[list[pa.Table], pa.Table, pa.Table]:
    url_list = make_url_list(rows)
    edges = [len(url_list) * i // num_parts for i in range(num_parts + 1)]
    parts = [download_part(url_list.slice(low, high - low), settings) for low, high in pairwise(edges)]
    scores = pa.concat_tables([score_part(part, scorer, *heads) for part in parts])
    pointed = [
        part.append_column("image_part", pa.array([f"part-{n}"] * len(part))).append_column(
            "image_row", pa.array(range(len(part)), pa.int64())
        )
        for n, part in enumerate(parts)
    ]
    training = TrainingSetSettings(buckets=SAMPLE_BUCKETS, rules=RuleSettings(min_side_px=32))
    return parts, scores, build_training_rows(pa.concat_tables(pointed), scores, training)


def test_every_row_comes_out_or_leaves_with_its_reason(rows, settings, scorer, heads) -> None:
    parts, scores, training = run_chain(rows, settings, scorer, heads, num_parts=2)
    assert all(part.schema == IMAGES for part in parts)
    assert scores.schema == SCORES
    assert training.schema == TRAINING_SET
    funnel = training_funnel(len(rows), training)
    assert funnel.dropped == EXPECTED
    assert funnel.kept == len(rows) - sum(EXPECTED.values())
    kept = training.filter(pa.compute.is_null(training["reason"])).to_pylist()
    for row in kept:
        image = parts[int(row["image_part"][-1])].to_pylist()[row["image_row"]]
        assert image["key"] == row["key"]
        assert sha256_hex(image["image"]["bytes"]) == image["stored_sha256"]


def test_result_does_not_depend_on_parts_or_order(rows, settings, scorer, heads, site) -> None:
    first_parts, first_scores, _ = run_chain(rows, settings, scorer, heads, num_parts=1)
    shuffled = random.Random(5).sample(rows, len(rows))
    other_parts, other_scores, _ = run_chain(shuffled, settings, scorer, heads, num_parts=3)
    stable = [name for name in IMAGES.names if name not in OBSERVATIONS["images"] - {"error_message"}]
    assert pa.concat_tables(other_parts).select(stable).equals(pa.concat_tables(first_parts).select(stable))
    assert other_scores.equals(first_scores)
    assert Counter(site.hits)["/0.png"] == 2
