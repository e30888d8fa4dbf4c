"""1,000 prompts of which 37 are broken, each kind in its own way: 963 pictures, 37 rows with an id and a reason."""

import json
from collections import Counter

import pytest

from ray_jobs.errors import JobError
from ray_jobs.parts import read_rows
from tests.ray_jobs.generation_job import poison

GOOD, EMPTY, NOWHERE, TOO_LONG, POISONED = 963, 10, 9, 8, 10
WORD = "poison"


def records(poisoned=POISONED):
    """Good prompts and broken ones, mixed."""
    broken = [{"prompt": " ", "prompt_id": f"empty-{n}"} for n in range(EMPTY)]
    broken += [{"prompt": "a hat", "prompt_id": f"nowhere-{n}", "size": "63x64"} for n in range(NOWHERE)]
    broken += [{"prompt": "a " * 5001, "prompt_id": f"long-{n}"} for n in range(TOO_LONG)]
    broken += [{"prompt": f"{WORD} {n}", "prompt_id": f"poison-{n}"} for n in range(poisoned)]
    good = [{"prompt": f"scene {n}", "prompt_id": f"good-{n}"} for n in range(GOOD)]
    step = len(good) // len(broken)
    mixed = []
    for place, row in enumerate(good):
        mixed.append(row)
        if place % step == 0 and broken:
            mixed.append(broken.pop())
    return mixed + broken


@pytest.fixture
def poisoned_job(job, monkeypatch):
    """The job around a generator that one word breaks."""
    poison(monkeypatch, WORD)
    return job


SIZES = {"batch_size": 8, "images_per_part": 128}


@pytest.mark.slow
@pytest.mark.reliability(7)
def test_of_1000_rows_37_broken_ones_leave_with_a_reason_and_963_are_made(poisoned_job):
    poisoned_job.register(records(), rows_per_part=100)
    manifest = poisoned_job.generate(**SIZES)
    rows = read_rows(poisoned_job.store, manifest, ["prompt_id", "reason", "image_sha256"]).to_pylist()
    assert {row["prompt_id"] for row in rows} == {record["prompt_id"] for record in records()} and len(rows) == 1000
    assert manifest.counts["in"] == 1000 and manifest.counts["kept"] == GOOD == sum(r["reason"] is None for r in rows)
    broken = Counter(row["prompt_id"].split("-")[0] for row in rows if row["reason"])
    assert broken == {"empty": EMPTY, "nowhere": NOWHERE, "long": TOO_LONG, "poison": POISONED}
    assert sum(broken.values()) == 37 == sum(n for name, n in manifest.counts.items() if name not in ("in", "kept"))
    assert all((row["reason"] is None) == (row["image_sha256"] is not None) for row in rows)
    assert manifest.counts["failed: RuntimeError: tokens ran dry"] == POISONED, json.dumps(manifest.counts)


@pytest.mark.slow
@pytest.mark.reliability(7)
def test_more_failures_than_the_set_share_fail_the_run(poisoned_job):
    poisoned_job.register(records(poisoned=60)[-200:] + records(poisoned=60)[:200], rows_per_part=100)
    with pytest.raises(JobError, match=r"of \d+ pictures failed, which is above max_failed_share = 0\.01"):
        poisoned_job.generate(**SIZES, max_failed_share=0.01)
