"""Alarms over stored versions of the metrics: the planted night is flagged on table and trend, unlike nights count not."""

from dataclasses import asdict

import numpy as np
import pyarrow as pa
import pytest

from pangu.evaluation.dashboard.content import SiteContent
from pangu.evaluation.dashboard.site import write_site
from pangu.evaluation.set_card import SetCard
from ray_jobs.artifacts import JOBS
from ray_jobs.evaluate_images import METRICS
from ray_jobs.evaluation_alarms import decide_alarms
from ray_jobs.job import JobContext, JobPlan
from ray_jobs.job_configs import CONFIGS
from ray_jobs.parts import write_part
from ray_jobs.progress import Progress
from ray_jobs.publish_dashboard import history
from ray_jobs.store import Store

CARD = SetCard("judge", "f" * 64, "bicubic-64", "png", 24, 0, "none", "prompts")
LABEL = f"judge@{'f' * 12} (bicubic-64)"
PLANTED, NIGHTS = 10, 14


def commit_night(store, number, kid, cards=True, content="prompts"):
    """One version of the metrics: the whole set and a stratum of KID, and a number without an interval."""
    found = {"label": LABEL, "generated": asdict(CARD) | {"content": content}, "reference": asdict(CARD)}
    plan = JobPlan(JOBS["evaluate_images"], CONFIGS["evaluate_images"](), {}, f"night{number:019d}")
    context = JobContext(plan, store, plan.config, Progress("evaluate_images"))
    rows = [("kid", kid, kid - 0.002, kid + 0.002, "all"), ("kid", 0.05, 0.048, 0.052, "style=cartoon")]
    rows.append(("frechet_distance", 3.0, None, None, "all"))
    columns = ("metric", "value", "low", "high", "stratum")
    table = [dict(zip(columns, row, strict=True)) | {"n": 24, "extractor": LABEL, "note": ""} for row in rows]
    part = pa.Table.from_pylist(table, schema=METRICS)
    summary = write_part(store, context.prefix, "00000-of-00001.parquet", part, frozenset())
    return context.commit_parts([summary], facts={"cards": {"slot": found}} if cards else {})


@pytest.fixture
def store(tmp_path):
    """Fourteen nights with KID near 0.05, and the eleventh of them far above."""
    noise = np.random.default_rng(3).normal(0, 0.0005, NIGHTS)
    made = Store(str(tmp_path / "store"))
    for number in range(NIGHTS):
        commit_night(made, number, 0.05 + noise[number] + (0.03 if number == PLANTED else 0.0))
    return made


def test_the_planted_night_and_no_other_is_flagged_on_table_and_trend(store, tmp_path):
    rows = decide_alarms(store)
    raised = [(row.night, row.metric, row.stratum) for row in rows if row.is_alarm]
    assert [(night.split(" #")[1], *rest) for night, *rest in raised] == [(str(PLANTED + 1), "kid", "all")]
    assert {row.metric for row in rows} == {"kid"}, "a number without an interval is not decided on"
    points = list(history(store, {(night, metric, LABEL) for night, metric, _ in raised}))
    assert [point.label for point in points if point.is_alarm] == [raised[0][0]]
    content = SiteContent("t", "sample", "now", (), history=tuple(points), alarms=tuple(rows))
    write_site(tmp_path / "site", content)
    page = (tmp_path / "site" / "evaluation.html").read_text(encoding="utf-8")
    assert page.count('class="tag warn">alarm<') == 1 and page.count("tone1 alarm") == 1
    assert "0 of 2 numbers moved" in page


def test_nights_of_other_cards_or_of_none_are_no_baseline(tmp_path):
    store = Store(str(tmp_path / "store"))
    for number in range(6):
        commit_night(store, number, 0.05 + number / 10_000, cards=number % 2 == 0)
    commit_night(store, 6, 0.2, content="other prompts")
    rows = decide_alarms(store)
    assert not any(row.is_alarm for row in rows)
    newest = [row for row in rows if row.night.endswith("#7")]
    assert len(rows) == 8 and all(row.num_nights == 0 and "differ in content" in row.note for row in newest)
