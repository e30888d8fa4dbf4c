"""What a run will take and may take: the prediction, the budget, the dry run."""

import json

import pytest

from ray_jobs.generation_configs import Budget
from ray_jobs.generation_estimate import Estimate, check_budget, find_speed, predict
from ray_jobs.generation_plan import plan_parts
from ray_jobs.job import run_job
from ray_jobs.progress import PREFIX


def test_the_prediction_stands_beside_what_it_took(job, capsys):
    first = job.generate()
    assert first.facts["predicted"]["images"] == 8 and first.facts["predicted"]["seconds"] is None
    assert first.facts["took"]["images"] == 7 and first.facts["took"]["device_seconds"] > 0
    lines = [json.loads(line.removeprefix(PREFIX)) for line in capsys.readouterr().out.splitlines() if PREFIX in line]
    last = next(line for line in reversed(lines) if line["job"] == "generate_images")
    assert last["images"] == 9 and last["images_per_s"] > 0 and last["eta_s"] == 0
    second = job.generate(run_seed=1)
    predicted = second.facts["predicted"]
    assert predicted["basis"].startswith(f"generated_images@{first.key[:12]}, 7 images")
    per_image = first.facts["took"]["device_seconds"] / 7
    assert predicted["device_seconds"] == pytest.approx(8 * per_image, abs=2e-3)
    assert find_speed(job.plan(steps=2), job.store) is None, "other settings are another speed"


@pytest.mark.parametrize(
    ("budget", "said"),
    [
        ({"max_images": 7}, r"budget\.max_images = 7, but 8 are predicted"),
        ({"max_hours": 1e-6}, r"budget\.max_hours = 1e-06, but .* are predicted"),
        ({"max_cost": 1e-6, "cost_per_device_hour": 1.0}, r"budget\.max_cost = 1e-06, but .* are predicted"),
    ],
)
def test_a_run_above_its_budget_does_not_start(job, budget, said):
    job.generate(run_seed=9)
    before = job.store.names("generated_images")
    with pytest.raises(ValueError, match=said):
        job.generate(budget=budget)
    assert job.store.names("generated_images") == before


def test_budgets_that_cannot_be_held_are_refused():
    with pytest.raises(ValueError, match="max_cost needs cost_per_device_hour"):
        Budget(max_cost=3)
    check_budget(Estimate(images=10**9, basis="none"), Budget())


def test_budget_part_size_and_places_of_keys_are_not_in_the_key(job, tmp_path):
    (tmp_path / "weights").write_text("w")
    base = {"output_filter": {"factory": "a:b", "weights": str(tmp_path / "weights")}}
    key = job.plan(**base).key
    (tmp_path / "moved").write_text("w")
    same = [
        {"images_per_part": 2},
        {"budget": {"max_images": 1}},
        {"max_failed_share": 0.5},
        {"offload_inactive_expert": True},
        {"output_filter": {"factory": "a:b", "weights": str(tmp_path / "moved")}},
    ]
    assert {job.plan(**base | other).key for other in same} == {key}
    others = [{"encode_quality": 5}, {"mark": {"system": "x"}}, {"container": "webdataset"}, {"sampler": "unipc"}]
    assert len({key, *(job.plan(**base | other).key for other in others)}) == 5


@pytest.mark.ray
def test_a_dry_run_times_a_probe_and_the_run_then_makes_it_good(job, local_ray, monkeypatch, capsys):
    monkeypatch.undo()
    settings = {"runtime": {"workers": 1, "cpus_per_worker": 0.5}, "budget": {"cost_per_device_hour": 2.0}}
    plan = job.plan(**settings)
    probed = predict(plan, job.store, plan_parts(job.store, plan.inputs["prompts"], plan.config), may_probe=True)
    assert probed.images == 8 and probed.seconds > 0 and probed.num_bytes > 0 and probed.cost > 0
    assert probed.basis.startswith("a probe: 2 images") and not job.store.names("generated_images")
    text = probed.to_text()
    assert "8 images" in text and "USD" in text and "of device time" in text
    manifest = run_job(plan, job.store).manifest
    assert manifest.counts["kept"] == 7 and manifest.facts["took"]["cost"] > 0
