"""The site from stored nights: lines a model, pages a night, extremes, tables of the same prompts, nothing of a dataset
where there is none."""

import json
import re
from functools import cache

import pytest

from pangu.evaluation.dashboard.site import write_site
from ray_jobs import (
    evaluate_images,
    evaluation_networks,
    evaluation_parts,
    part_runner,
    publish_dashboard,
    sweep_styles,
)
from ray_jobs.job import JobContext, plan_job
from ray_jobs.parts import read_rows
from ray_jobs.picture_scores import read_picture_scores
from ray_jobs.progress import Progress
from ray_jobs.store import Store
from tests.ray_jobs.night_store import add_night, commit_pictures, in_process, run, write_reference

NUM_PROMPTS = 16
pytestmark = pytest.mark.timeout(600)


@cache
def networks(fields):
    config = evaluate_images.EvaluateImages.model_validate_json(fields)
    return evaluation_networks.load_networks(config, None, "cpu")


def load_once(config, scores, device):
    return networks(config.model_dump_json(exclude={"num_reference"}))


@pytest.fixture(scope="module")
def nights(tmp_path_factory):
    """Three nights of a steady champion and a candidate that breaks on the third; their pictures; a model of others."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(part_runner, "_schedule", in_process)
        for module in (evaluate_images, evaluation_parts):
            patch.setattr(module, "load_networks", load_once)
        root = tmp_path_factory.mktemp("nights")
        store = Store(str(root / "store"))
        from ray_jobs.register_prompts import write_sample_prompts

        listed = write_sample_prompts(NUM_PROMPTS)
        for row in listed[:2]:
            row["theirs"] = "a.png"
        listed[0]["prompt"] += " <script>alert(1)</script>"
        path = root / "list.jsonl"
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in listed))
        prompts = run(store, "register_prompts", path=str(path))
        reference = write_reference(root / "reference", 24)
        (root / "a.png").write_bytes((reference / "0000.png").read_bytes())
        champion = commit_pictures(store, prompts, "steady")
        for number in range(3):
            candidate = commit_pictures(store, prompts, "moving", seed=number, broken=0.5 if number == 2 else 0.0)
            add_night(store, number, champion, candidate, reference)
        run(store, "register_pictures", model="theirs", max_failed_share=1.0)
        history = run(store, "write_history")
        yield store, prompts, history, candidate


def plan(store, **settings):
    return plan_job("publish_dashboard", {"num_extremes": 3, "num_grid_prompts": 4} | settings, {}, store)


@pytest.fixture(scope="module")
def content(nights):
    store = nights[0]
    planned = plan(store)
    return publish_dashboard.build_content(JobContext(planned, store, planned.config, Progress("publish_dashboard")))


def test_a_line_a_model_and_a_point_a_night(content):
    whole = {(p.series, p.label) for p in content.history if p.stratum == "all" and p.metric == "clip_score"}
    dates = ["2026-11-01", "2026-11-02", "2026-11-03"]
    assert whole == {
        (f"{role}: {name}", d) for role, name in (("champion", "steady"), ("candidate", "moving")) for d in dates
    }
    assert {p.stratum for p in content.history} >= {"all", "language=en", "style=cartoon"}


def test_a_night_without_a_dataset_has_no_pages_of_one(content):
    assert content.dataset is None and content.training is None
    assert [step.version.artifact for step in content.chain] == ["generated_images", "metrics"]


def test_the_lowest_scores_of_a_night_are_its_lowest(nights, content):
    store = nights[0]
    page = next(each for each in content.nights if each.night == "2026-11-03" and each.model.startswith("candidate"))
    metrics = plan(store).inputs["history"]
    key = next(
        r["metrics"] for r in read_rows(store, metrics).to_pylist() if r["night_version"] + r["model"] == page.page
    )
    from ray_jobs.versions import Versions

    scores = read_picture_scores(store, Versions(store).find("metrics", key)).to_pylist()
    ordered = sorted(row["clip_score"] for row in scores if row["clip_score"] is not None)
    assert [dict(picture.facts)["clip score"] for picture in page.lowest] == [f"{value:.2f}" for value in ordered[:3]]
    assert [dict(picture.facts)["clip score"] for picture in page.highest] == [f"{v:.2f}" for v in ordered[::-1][:3]]
    assert page.left_out == (("generated", "failed: out of memory", 1),)
    assert page.counts == {"kept": NUM_PROMPTS - 1, "failed: out of memory": 1} and page.images_per_s == 2.5
    assert ("model", "moving") in page.facts and page.version.version == key
    assert ("prompts", "list.jsonl") in page.facts  # without the folder, which is of one machine
    assert [v.artifact for v in page.lineage][-1] == "metrics" and len(page.metrics) > 8


def test_nights_stand_beside_each_other_with_equal_prompts_and_seeds(content):
    tables = {table.name: table for table in content.over_time}
    table = tables["candidate: moving"]
    assert [column.title for column in table.columns] == ["2026-11-01", "2026-11-02", "2026-11-03"]
    assert len(table.rows) == 4 and all(len(row.pictures) == 3 and row.note.startswith("seed 1") for row in table.rows)
    assert {column.page for column in table.columns} <= {night.page for night in content.nights}


def test_models_stand_beside_each_other_on_one_list(content):
    (table,) = content.side_by_side
    assert [column.title for column in table.columns] == ["moving", "steady", "theirs"]
    assert all(row.pictures[0] and row.pictures[1] for row in table.rows)


def test_the_same_nights_and_pictures_give_the_same_site_and_a_new_sweep_another(nights):
    store = nights[0]
    before = plan(store)
    assert before.key == plan(store).key and "theirs:generated_images" in before.inputs
    named = {name: f"{version.artifact}@{version.key}" for name, version in before.inputs.items()}
    assert plan_job("publish_dashboard", {}, named, store).key == plan_job("publish_dashboard", {}, {}, store).key
    from ray_jobs.artifacts import JOBS
    from ray_jobs.job import JobPlan
    from ray_jobs.job_configs import CONFIGS
    from ray_jobs.parts import write_part

    config = CONFIGS["sweep_styles"]()
    context = JobContext(JobPlan(JOBS["sweep_styles"], config, {}, "s" * 24), store, config, Progress("sweep_styles"))
    summary = write_part(store, context.prefix, "000-00000.parquet", sweep_styles.SWEPT.empty_table(), {"image"})
    points = [{"scale": float(s), "value": s / 6, "low": None, "high": None, "n": 4} for s in range(7)]
    curve = {"metric": "cartoon_rate", "points": points}
    facts = {"sweeps": [{"style": "cartoon", "curves": [curve], "statement": "it rises"}]}
    context.commit_parts([summary], facts | {"scorer": {"name": "judge", "other_uses": ["filtered"]}, "experts": "m"})
    after = plan(store)
    assert after.key != before.key
    made = publish_dashboard.build_content(JobContext(after, store, after.config, Progress("publish_dashboard")))
    assert made.sweeps[0].statement == "it rises" and "NOT INDEPENDENT" in made.sweeps[0].curves[0].note


@pytest.mark.reliability(23)
def test_the_written_site_links_its_nights_and_holds_no_script(content, tmp_path):
    pages = write_site(tmp_path, content)
    evaluation = (tmp_path / "evaluation.html").read_text(encoding="utf-8")
    links = set(re.findall(r'href="(night_[0-9a-z]+\.html)"', evaluation))
    assert links == {page.name for page in pages if page.name.startswith("night_")} and len(links) == 6
    assert all((tmp_path / link).is_file() for link in links)
    assert not [page.name for page in pages if "<script" in page.read_text(encoding="utf-8")]
    assert "Dataset</a>" not in evaluation and "Side by side</a>" in evaluation
    assert "pangu_generation_images_per_second" in (tmp_path / "metrics.prom").read_text()
