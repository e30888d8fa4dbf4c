"""The style sweep through the real job on a narrow pair: one picture of scale 0 for all styles, equal seeds, figures."""

import json
from collections import Counter

import pytest

from ray_jobs import part_runner, sweep_styles
from ray_jobs.config import check_settings, job_settings
from ray_jobs.job import JobContext, plan_job
from ray_jobs.parts import read_rows
from ray_jobs.progress import Progress
from ray_jobs.sweep_figures import sweep_facts

SETTINGS = {"steps": 1, "guidance": 1.0, "batch_size": 2, "num_prompts": 3, "num_shown": 1, "scales": [0, 2, 5]}


PROMPTS = [{"prompt": f"a red ball {n}", "prompt_id": f"square-{n}", "style": "cartoon"} for n in range(4)]


def run(store, **settings):
    plan = plan_job("sweep_styles", job_settings("sweep_styles", "sample", SETTINGS | settings), {}, store)
    return sweep_styles.run(JobContext(plan, store, plan.config, Progress("sweep_styles")))


def test_every_style_shares_scale_0_and_every_row_its_seed(job, monkeypatch):
    job.register(PROMPTS)
    evaluations = Counter()
    real = sweep_styles.ImageMaker.fill

    def counted(self, rows, steps=None):
        evaluations[json.dumps(self.config.style_scales)] += len(rows)
        real(self, rows, steps)

    monkeypatch.setattr(sweep_styles.ImageMaker, "fill", counted)
    made = run(job.store)
    asked = {"{}": 3} | {json.dumps({style: scale}): 3 for style in ("cartoon", "aesthetic") for scale in (2.0, 5.0)}
    assert dict(evaluations) == asked
    rows = read_rows(job.store, made).to_pylist()
    assert len(rows) == made.rows == 15 and all(row["reason"] is None for row in rows)
    assert len({(row["prompt_id"], row["seed"]) for row in rows}) == 3, "the scales of a prompt share its seed"
    assert len({row["image_sha256"] for row in rows}) == 15, "each scale draws another picture"
    assert {row["place"] for row in rows if row["image"]} == {0}, "pictures are kept of the first prompts alone"
    for sweep in made.facts["sweeps"]:
        curves = {curve["metric"]: curve["points"] for curve in sweep["curves"]}
        assert set(curves) == {"cartoon_rate", "cartoon_probability", "aesthetic", "clip_score"}
        assert [(point["scale"], point["n"]) for point in curves["cartoon_rate"]] == [(0, 3), (2, 3), (5, 3)]
        assert all(p["low"] <= p["value"] <= p["high"] for points in curves.values() for p in points)


def test_a_second_run_draws_nothing_and_gives_the_same_digest(job, monkeypatch):
    job.register(PROMPTS)
    first = run(job.store, num_prompts=2, scales=[0, 1], styles=["cartoon"])
    monkeypatch.setattr(part_runner, "_schedule", lambda *_: pytest.fail("every part was stored"))
    stored = part_runner.read_plan(job.store, first.prefix)
    assert len(stored["parts"]) == 2
    plan = plan_job(
        "sweep_styles",
        job_settings("sweep_styles", "sample", SETTINGS | {"num_prompts": 2, "scales": [0, 1], "styles": ["cartoon"]}),
        {},
        job.store,
    )
    assert sweep_styles.run(JobContext(plan, job.store, plan.config, Progress("again"))).digest == first.digest


def row(style, scale, place, probability, reason=None):
    scores = {"clip_score": 20.0 + scale, "aesthetic": 5.0, "cartoon_probability": probability}
    return {"style": style, "scale": scale, "place": place, "reason": reason} | scores


def test_the_figures_are_a_known_answer():
    config = check_settings("sweep_styles", {"styles": ["cartoon"], "scales": [0, 3]})
    rows = [row(None, 0.0, place, 0.9 if place < 2 else 0.1) for place in range(8)]
    rows += [row("cartoon", 3.0, place, 0.8) for place in range(8)] + [row("cartoon", 3.0, 9, None, "failed: x")]
    (sweep,) = sweep_facts(rows, config, {})["sweeps"]
    curves = {curve["metric"]: curve["points"] for curve in sweep["curves"]}
    assert [point["value"] for point in curves["cartoon_rate"]] == [0.25, 1.0]
    assert curves["cartoon_rate"][1]["low"] == pytest.approx(0.676, abs=1e-3), "Wilson's bound of 8 of 8"
    assert "rises at every one of 1 steps" in sweep["statement"] and "+0.750" in sweep["statement"]
    assert [point["value"] for point in curves["clip_score"]] == [20.0, 23.0]


def test_scales_must_rise():
    with pytest.raises(ValueError, match="scales: got"):
        check_settings("sweep_styles", {"scales": [0, 2, 1]})
