"""Nights over stored metrics: the planted one is flagged on table and trend in any order; unlike nights do not count."""

from dataclasses import asdict

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from pangu.evaluation.dashboard.content import SiteContent
from pangu.evaluation.dashboard.site import write_site
from pangu.evaluation.set_card import SetCard
from ray_jobs import compare_models, write_history
from ray_jobs.artifacts import JOBS
from ray_jobs.evaluate_images import METRICS
from ray_jobs.job import JobContext, JobPlan, plan_job
from ray_jobs.job_configs import CONFIGS
from ray_jobs.parts import read_rows, write_part
from ray_jobs.picture_scores import PICTURE_SCORES, read_picture_scores, store_picture_scores
from ray_jobs.progress import Progress
from ray_jobs.publish_dashboard import history_point
from ray_jobs.store import Store
from ray_jobs.versions import Versions
from ray_jobs.write_history import HISTORY, alarm_row

CARD = SetCard("judge", "f" * 64, "bicubic-64", "png", 24, 0, "none", "prompts")
LABEL = f"judge@{'f' * 12} (bicubic-64)"
PLANTED, NIGHTS, PROMPTS = 10, 14, 40


def night_of(number):
    return f"2026-11-{number + 1:02d}T03:00:00Z"


def commit_metrics(store, number, kid=0.05, clip=0.0, cards=True, content="prompts"):
    """One model's metrics: KID with a stratum, a number without an interval, and a CLIP score with its pictures."""
    found = {"label": LABEL, "generated": asdict(CARD) | {"content": content}, "reference": asdict(CARD)}
    plan = JobPlan(JOBS["evaluate_images"], CONFIGS["evaluate_images"](), {}, f"model{number:019d}")
    context = JobContext(plan, store, plan.config, Progress("evaluate_images"))
    scores = np.random.default_rng(9).normal(60, 8, PROMPTS) + np.random.default_rng(number).normal(clip, 0.3, PROMPTS)
    mean, reach = float(scores.mean()), 1.96 * float(scores.std()) / PROMPTS**0.5
    rows = [("kid", kid, kid - 0.002, kid + 0.002, "all"), ("kid", 0.05, 0.048, 0.052, "style=cartoon")]
    rows += [("frechet_distance", 3.0, None, None, "all"), ("clip_score", mean, mean - reach, mean + reach, "all")]
    columns = ("metric", "value", "low", "high", "stratum")
    table = [dict(zip(columns, row, strict=True)) | {"n": PROMPTS, "extractor": LABEL, "note": ""} for row in rows]
    part = pa.Table.from_pylist(table, schema=METRICS)
    summary = write_part(store, context.prefix, "00000-of-00001.parquet", part, frozenset())
    pictures = [
        dict.fromkeys(PICTURE_SCORES.names) | {"key": f"p{row:02d}/0", "prompt_id": f"p{row:02d}", "clip_score": score}
        for row, score in enumerate(scores)
    ]
    kept = store_picture_scores(store, context.prefix, pa.Table.from_pylist(pictures, schema=PICTURE_SCORES))
    facts = {"picture_scores": kept, "model": {"name": "experts", "version": f"v{number}"}}
    return context.commit_parts([summary], facts=facts | ({"cards": {"slot": found}} if cards else {}))


def run(store, job, references=None, **settings):
    plan = plan_job(job, settings, references or {}, store)
    module = {"compare_models": compare_models, "write_history": write_history}[job]
    return module.run(JobContext(plan, store, plan.config, Progress(job)))


def compare_night(store, number, candidate, champion=None, **settings):
    references = {
        "candidate:metrics": f"metrics@{candidate.key}",
        "champion:metrics": f"metrics@{(champion or candidate).key}",
    }
    return run(store, "compare_models", references, night=night_of(number), **settings)


@pytest.fixture
def models(tmp_path):
    """A store with fourteen candidates of like quality, and the eleventh far worse in KID."""
    noise = np.random.default_rng(3).normal(0, 0.0005, NIGHTS)
    store = Store(str(tmp_path / "store"))
    return store, [
        commit_metrics(store, number, 0.05 + noise[number] + (0.03 if number == PLANTED else 0.0))
        for number in range(NIGHTS)
    ]


@pytest.mark.reliability(11)
def test_nights_in_any_order_give_one_history(models, tmp_path):
    store, candidates = models
    other = Store(str(tmp_path / "other"))
    again = [commit_metrics(other, n, read_rows(store, v).to_pylist()[0]["value"]) for n, v in enumerate(candidates)]
    for number in range(NIGHTS):
        compare_night(store, number, candidates[number], candidates[0])
        run(store, "write_history")
    for number in np.random.default_rng(1).permutation(NIGHTS):
        compare_night(other, int(number), again[number], again[0])
        run(other, "write_history")
    one, two = Versions(store).latest("history"), Versions(other).latest("history")
    assert (one.key, one.digest) == (two.key, two.digest) and read_rows(store, one).equals(read_rows(other, two))
    assert len(Versions(store).history("nights")) == NIGHTS


def test_the_planted_night_and_no_other_is_flagged_on_table_and_trend(models, tmp_path):
    store, candidates = models
    for number, candidate in enumerate(candidates):
        compare_night(store, number, candidate, candidates[0])
    found = run(store, "write_history")
    rows = read_rows(store, found).to_pylist()
    raised = [(row["night"], row["model"], row["metric"], row["stratum"]) for row in rows if row["is_alarm"]]
    assert raised == [(night_of(PLANTED), "candidate", "kid", "all")]
    assert found.facts["alarms"] == [" ".join(raised[0])]
    watched = {row["metric"] for row in rows if row["num_nights"] is not None}
    assert watched == {"kid", "clip_score"}, "a number without an interval is not decided on"
    labels = {row["night"]: row["night"] for row in rows}
    lines = {(row["night"], row["model"]): row["model"] for row in rows}
    points = tuple(history_point(row, labels, lines) for row in rows if row["stratum"] == "all")
    assert [point.label for point in points if point.is_alarm] == [night_of(PLANTED)]
    alarms = tuple(row for row in map(alarm_row, rows) if row is not None)
    content = SiteContent("t", "sample", "now", (), history=points, alarms=alarms)
    write_site(tmp_path / "site", content)
    page = (tmp_path / "site" / "evaluation.html").read_text(encoding="utf-8")
    assert page.count('class="tag warn">alarm<') == 1 and page.count(" alarm") >= 1


def test_a_mean_over_images_is_paired_by_prompt(tmp_path):
    """The shift is a fifth of a night's standard error over prompts: seen because the prompts are the same ones."""
    store = Store(str(tmp_path / "store"))
    for number in range(8):
        compare_night(store, number, commit_metrics(store, number, clip=-0.6 if number == 7 else 0.0))
    rows = read_rows(store, run(store, "write_history")).to_pylist()
    tonight = [row for row in rows if row["metric"] == "clip_score" and row["night"] == night_of(7)]
    assert all(row["is_alarm"] and row["num_pairs"] == PROMPTS and row["num_nights"] == 7 for row in tonight)
    assert {row["num_pairs"] for row in rows if row["metric"] == "kid"} == {0}
    assert not any(row["is_alarm"] for row in rows if row not in tonight)


def test_nights_of_other_cards_or_of_none_are_no_baseline(tmp_path):
    store = Store(str(tmp_path / "store"))
    for number in range(6):
        compare_night(store, number, commit_metrics(store, number, 0.05 + number / 10_000, cards=number % 2 == 0))
    compare_night(store, 6, commit_metrics(store, 6, 0.2, content="other prompts"))
    rows = read_rows(store, run(store, "write_history")).to_pylist()
    assert not any(row["is_alarm"] for row in rows)
    newest = [row for row in rows if row["night"] == night_of(6) and row["num_nights"] is not None]
    assert newest and all(row["num_nights"] == 0 and "differ in content" in row["alarm_note"] for row in newest)
    assert {row["num_nights"] for row in rows if row["night"] == night_of(1)} == {None}


def test_a_night_that_is_run_again_takes_the_place_of_the_first(models):
    store, candidates = models
    compare_night(store, 0, candidates[PLANTED], candidates[0])
    run(store, "write_history")
    compare_night(store, 0, candidates[1], candidates[0])
    rows = read_rows(store, run(store, "write_history")).to_pylist()
    assert {row["model_version"] for row in rows if row["model"] == "candidate"} == {"v1"}


def test_the_history_is_one_query_away(models):
    store, candidates = models
    compare_night(store, 0, candidates[1], candidates[0])
    found = run(store, "write_history")
    path = f"{store.root}/{found.prefix}/parts/*.parquet"
    query = (
        f"select night::timestamptz, model, value, num_compared from '{path}' where metric = 'clip_score' order by 2"
    )
    rows = duckdb.sql(query).fetchall()
    assert [row[1] for row in rows] == ["candidate", "champion"] and rows[0][3] == PROMPTS and rows[1][3] is None
    assert duckdb.sql(f"select * from '{path}'").columns == HISTORY.names


def test_the_candidate_is_compared_prompt_by_prompt_and_gated(models):
    store, candidates = models
    worse = commit_metrics(store, 50, clip=-2.0)
    wanted = {"gate_metrics": ["clip_score", "kid"]}
    kept = compare_night(store, 1, worse, candidates[0], gate="if_not_worse", **wanted)
    assert kept.facts["gate"]["worse"] == ["clip_score"] and not kept.facts["gate"]["is_promotion"]
    row = next(
        row
        for row in read_rows(store, kept).to_pylist()
        if row["metric"] == "clip_score" and row["model"] == "candidate"
    )
    sides = [
        np.asarray(read_picture_scores(store, version, ["clip_score"])["clip_score"])
        for version in (worse, candidates[0])
    ]
    assert row["difference"] == pytest.approx(float((sides[0] - sides[1]).mean()))
    assert row["difference_low"] < row["difference"] < row["difference_high"] < -1.5 and row["num_compared"] == PROMPTS
    alike = compare_night(store, 2, candidates[1], candidates[0], gate="if_not_worse", **wanted)
    assert alike.facts["gate"]["is_promotion"]
    better = commit_metrics(store, 51, clip=2.0)
    found = compare_night(store, 3, better, candidates[0], gate="if_better", **wanted)
    assert found.facts["gate"]["is_promotion"] and found.facts["gate"]["better"] == ["clip_score"]
    unknown = compare_night(store, 4, better, candidates[0], gate="if_better")
    assert not unknown.facts["gate"]["is_promotion"] and "Not compared: aesthetic" in unknown.facts["gate"]["why"]
