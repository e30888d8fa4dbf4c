"""The evaluation job on small stored versions: layouts, resumption, the cached reference, the account of every row."""

import io
import json
from dataclasses import asdict
from functools import cache

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from curation.buckets import SAMPLE_BUCKETS
from curation.crop_plan import plan_centre_crop
from ray_jobs import evaluate_images, evaluation_networks, evaluation_parts, part_runner
from ray_jobs.artifacts import JOBS
from ray_jobs.attempts import Attempts
from ray_jobs.config import job_settings
from ray_jobs.evaluation_cards import night_card
from ray_jobs.generated_rows import GENERATED
from ray_jobs.job import JobContext, JobPlan, plan_job
from ray_jobs.job_configs import CONFIGS
from ray_jobs.part_runner import WorkerSetup
from ray_jobs.parts import not_digested, read_rows, split_by_key, write_part
from ray_jobs.picture_scores import PICTURE_SCORES, read_picture_scores
from ray_jobs.progress import Progress
from ray_jobs.store import Store

NUM_MADE, NUM_STORED = 20, 24
STYLES = ("cartoon", "aesthetic")


def picture(seed):
    """A PNG of two random colours: (64, 64)."""
    rng = np.random.default_rng(seed)
    pixels = np.kron(rng.integers(0, 256, (4, 4, 3)), np.ones((16, 16, 1))).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def generated_rows(night):
    rows = []
    for index in range(NUM_MADE):
        row = dict.fromkeys(GENERATED.names) | {
            "key": f"p{index:02d}/0",
            "prompt_id": f"p{index:02d}",
            "prompt": f"a red ball {index}" if index % 2 else f"一只蓝色的鱼 {index}",
            "language": "en" if index % 2 else "zh",
            "bucket": 0,
            "style": STYLES[index % 2],
            "category": "Animals" if index < 12 else None,
            "strata": ["text"] if index < 9 else [],
            "image": {"bytes": picture(1000 * night + index), "path": f"{index}.png"},
            "image_sha256": f"{night}-{index}",
        }
        rows.append(row)
    rows[-1]["image"]["bytes"] = b"no picture at all"
    refused = {"image": None, "image_sha256": None, "reason": "no_prompt"}
    return [*rows, *(rows[0] | refused | {"key": f"refused{index}/0"} for index in range(3))]


def commit(store, job, key, table, rows_per_part, inputs=None, facts=None, **config):
    plan = JobPlan(JOBS[job], CONFIGS[job].model_validate(config), inputs or {}, key)
    context = JobContext(plan, store, plan.config, Progress(job))
    parts = split_by_key(table, rows_per_part)
    leave_out = not_digested(context.artifact)
    summaries = [write_part(store, context.prefix, name, rows, leave_out) for name, rows in parts.items()]
    return context.commit_parts(summaries, facts)


def commit_night(store, night, rows_per_part):
    """One night's pictures; key and seed differ, the prompts do not."""
    table = pa.Table.from_pylist(generated_rows(night), schema=GENERATED)
    mark = {"metadata": "trainedAlgorithmicMedia", "watermark": "none", "content_credentials": "none", "version": "x"}
    facts = {"mark": mark, "container": "parquet"}
    return commit(store, "generate_images", f"night{night}", table, rows_per_part, facts=facts)


def build_store(root, rows_per_part):
    """A store with pictures, their scores, a training set, and one night."""
    store = Store(str(root))
    keys = [f"k{index:02d}" for index in range(NUM_STORED)]
    images = pa.table({"key": keys, "image": [{"bytes": picture(index), "path": None} for index in range(NUM_STORED)]})
    found = commit(store, "download_images", "i" * 24, images, rows_per_part)
    commit(store, "score_images", "s" * 24, pa.table({"key": keys}), rows_per_part)
    crop = asdict(plan_centre_crop((64, 64), SAMPLE_BUCKETS.rows[0].structure))
    rows = []
    for part in found.parts:
        stored = part_runner.read_summary(store, found.prefix, part.name)
        names = split_by_key(images, rows_per_part)[part.name]["key"].to_pylist()
        assert stored.part.rows == len(names)
        for place, key in enumerate(names):
            pointer = {"image_part": part.name, "image_row": place}
            style = STYLES[int(key[1:]) % 2]
            rows.append({"key": key, "reason": None, "style": style, "bucket": 0, "structure_crop": crop} | pointer)
    commit(store, "build_training_set", "t" * 24, pa.Table.from_pylist(rows), rows_per_part)
    commit_night(store, 1, rows_per_part)
    return store


@pytest.fixture(autouse=True)
def in_process(monkeypatch):
    """Parts one after the other in this process, each network loaded once; the names of the parts that were worked on."""
    done = []

    def schedule(context, missing, worker, prefix):
        setup = WorkerSetup(context.store, context.config, dict(context.plan.inputs), prefix)
        task = part_runner._PartTask(setup, worker, Attempts(context.store, prefix), context.artifact)
        for part in missing:
            done.append(part)
            for line in task({"part": [part]})["line"]:
                yield json.loads(line)

    monkeypatch.setattr(part_runner, "_schedule", schedule)
    for module in (evaluate_images, evaluation_parts):
        monkeypatch.setattr(module, "load_networks", load_once)
    return done


def load_once(config, scores, device):
    return _load(config.model_dump_json(exclude={"num_reference"}), scores.key if scores else "")[0](
        config, scores, device
    )


@cache
def _load(fields, key):
    loaded = []

    def load(config, scores, device):
        if not loaded:
            loaded.append(evaluation_networks.load_networks(config, scores, device))
        return loaded[0]

    return (load,)


def evaluate(store, **settings):
    plan = plan_job("evaluate_images", job_settings("evaluate_images", "sample", settings), {}, store)
    return evaluate_images.run(JobContext(plan, store, plan.config, Progress("evaluate_images")))


@pytest.mark.reliability(24)
def test_figures_do_not_depend_on_how_either_side_is_cut_into_parts(tmp_path):
    whole, cut = build_store(tmp_path / "whole", 100), build_store(tmp_path / "cut", 12)
    first, second = (evaluate(store) for store in (whole, cut))
    assert first.key == second.key and first.facts["generated_parts_read"] < second.facts["generated_parts_read"]
    assert read_rows(whole, first).equals(read_rows(cut, second)) and first.digest == second.digest
    assert first.facts["pictures"] == second.facts["pictures"]


@pytest.mark.reliability(7)
def test_every_row_is_measured_or_counted_under_its_reason(tmp_path):
    store = build_store(tmp_path / "store", 100)
    found = evaluate(store)
    facts = found.facts
    assert facts["generated"] == NUM_MADE - 1 and facts["reference"] == NUM_STORED
    assert facts["generated_left_out"] == {"no_prompt": 3, "unknown_format": 1} and facts["reference_left_out"] == {}
    rows = read_rows(store, found).to_pylist()
    names = {row["metric"] for row in rows if row["stratum"] == "all"}
    assert names == {*("kid", "frechet_distance", "inception_score", "clip_score", "cmmd", "aesthetic", "cartoon_rate")}
    strata = {row["stratum"] for row in rows}
    assert strata >= {"style=cartoon", "style=aesthetic", "language=zh", "bucket=0", "category=Animals", "text=yes"}
    for row in rows:
        judged_by_scorer = row["extractor"].startswith("sample-scorer")
        assert row["note"].startswith("NOT INDEPENDENT") == judged_by_scorer, row
        assert judged_by_scorer or row["extractor"].startswith("untrained")
    numbers = {row["metric"]: row["n"] for row in rows if row["stratum"] == "all"}
    assert set(numbers.values()) == {NUM_MADE - 1}


def test_each_picture_keeps_the_scores_that_the_metrics_are_means_of(tmp_path):
    stores = [build_store(tmp_path / name, size) for name, size in (("whole", 100), ("cut", 12))]
    found = [evaluate(store) for store in stores]
    tables = [read_picture_scores(store, version) for store, version in zip(stores, found, strict=True)]
    assert tables[0].equals(tables[1]) and found[0].facts["picture_scores"] == found[1].facts["picture_scores"]
    rows = tables[0].to_pylist()
    assert tables[0].schema.equals(PICTURE_SCORES) and [row["key"] for row in rows] == sorted(r["key"] for r in rows)
    values = {
        row["metric"]: row["value"] for row in read_rows(stores[0], found[0]).to_pylist() if row["stratum"] == "all"
    }
    measured = [row for row in rows if row["reason"] is None]
    assert len(measured) == NUM_MADE - 1 and len(rows) == NUM_MADE + 3
    for column, metric in (("clip_score", "clip_score"), ("aesthetic", "aesthetic"), ("is_cartoon", "cartoon_rate")):
        assert np.mean([row[column] for row in measured]) == pytest.approx(values[metric]), column
    assert all(row["prompt_id"] and row["prompt"] and 0 <= row["reference_distance"] < 2 for row in measured)
    assert {row["reference_key"] for row in measured} <= {f"k{index:02d}" for index in range(NUM_STORED)}
    assert all(row["clip_score"] is None and row["reference_key"] is None for row in rows if row["reason"])
    assert found[0].facts["model"]["name"] == "experts" and found[0].facts["generation"]["steps"] == 40
    with pytest.raises(ValueError, match="keeps no scores of single pictures"):
        read_picture_scores(stores[0], found[0].model_copy(update={"facts": {}}))


@pytest.mark.reliability(2)
def test_a_killed_run_goes_on_with_the_parts_that_are_missing(tmp_path, in_process, monkeypatch):
    store = build_store(tmp_path / "store", 12)
    expected = evaluate(build_store(tmp_path / "other", 100))
    last = "generated-00001-of-00002.parquet"
    measure = evaluation_parts.GeneratedWorker.measure

    def dying(self, part, rows, pictures):
        if part == last:
            raise KeyboardInterrupt
        return measure(self, part, rows, pictures)

    with monkeypatch.context() as patch:
        patch.setattr(evaluation_parts.GeneratedWorker, "measure", dying)
        with pytest.raises(KeyboardInterrupt):
            evaluate(store)
    in_process.clear()
    assert evaluate(store).digest == expected.digest and in_process == [last]


def test_the_next_night_does_not_read_the_reference_pictures_again(tmp_path):
    store = build_store(tmp_path / "store", 12)
    first = evaluate(store)
    commit_night(store, 2, 12)
    images = [name for name in store.names("images") if "/parts/" in name]
    for name in images:
        store.delete(name)
    second = evaluate(store)
    assert images and first.facts["reference_parts_read"] > 0 == second.facts["reference_parts_read"]
    assert second.key != first.key and second.facts["pictures"] != first.facts["pictures"]
    with pytest.raises(FileNotFoundError):
        evaluate(store, num_reference=12)


def test_the_manifest_says_how_both_sets_were_made_and_read(tmp_path):
    store = build_store(tmp_path / "store", 100)
    found = evaluate(store)
    assert set(found.facts["cards"]) == {"untrained", "scorer"}
    extractors = {row["extractor"] for row in read_rows(store, found).to_pylist()}
    for each in found.facts["cards"].values():
        made, reference = each["generated"], each["reference"]
        assert each["label"] in extractors
        assert made["fingerprint"] == reference["fingerprint"] and len(made["fingerprint"]) == 64
        assert made["resize_mode"] == reference["resize_mode"]
        assert (made["image_format"], reference["image_format"]) == ("png", "webp-95")
        assert made["num_images"] == NUM_MADE + 3 and made["seed"] == 0
        assert "trainedAlgorithmicMedia" in made["marks"] and "version" not in made["marks"]
        assert len(reference["content"]) == 64
        card = night_card(found.facts, each["label"])
        assert card.fingerprint == made["fingerprint"] and reference["content"] in card.content
    assert night_card(found.facts, "another@network") is None and night_card({}, "untrained") is None


def test_only_the_scorer_that_chose_the_training_pictures_is_called_partial(tmp_path):
    store = build_store(tmp_path / "store", 100)
    plan = plan_job("evaluate_images", job_settings("evaluate_images", "sample", {}), {}, store)
    scores = plan.inputs["scores"]
    assert evaluation_networks.uses_of_scorer("sample", scores)[0] == "scored the training pictures"
    other = scores.model_copy(update={"config": {"scorer": "hf-hub:other/clip@" + "0" * 40}})
    assert evaluation_networks.uses_of_scorer("sample", other) == (
        "conditioned the sample experts, with an earlier form of its text tower",
    )
    assert evaluation_networks.uses_of_scorer(other.config["scorer"], scores) == ()
    assert evaluation_networks.uses_of_scorer(other.config["scorer"], other) == ("scored the training pictures",)


def test_a_folder_is_a_reference_and_its_content_decides_the_key(tmp_path):
    store, folder = Store(str(tmp_path / "store")), tmp_path / "reference" / "deep"
    commit_night(store, 1, 100)
    folder.mkdir(parents=True)
    for index in range(NUM_STORED):
        (folder / f"{index}.png").write_bytes(picture(index))
    (folder / "broken.png").write_bytes(b"no picture at all")
    (folder / "notes.txt").write_text("not a picture")
    found = evaluate(store, reference=str(folder.parent))
    assert (found.facts["reference"], found.facts["reference_left_out"]) == (NUM_STORED, {"unknown_format": 1})
    assert set(found.inputs) == {"generated_images"} and "kid" in read_rows(store, found)["metric"].to_pylist()
    again = evaluate(store, reference=str(folder.parent), seed=1)
    assert again.facts["reference_parts_read"] == 0, "the reference is known by its content"
    (folder / "one more.png").write_bytes(picture(99))
    settings = job_settings("evaluate_images", "sample", {"reference": str(folder.parent)})
    assert plan_job("evaluate_images", settings, {}, store).key != found.key


def test_without_a_reference_only_what_needs_none_is_measured(tmp_path):
    store = Store(str(tmp_path / "store"))
    commit_night(store, 1, 100)
    found = evaluate(store, reference="none")
    metrics = set(read_rows(store, found)["metric"].to_pylist())
    assert metrics >= {"clip_score", "inception_score", "aesthetic", "cartoon_rate"}
    assert not metrics & {"kid", "frechet_distance", "cmmd"} and found.facts["reference"] == 0


def test_a_folder_without_pictures_is_refused(tmp_path):
    store = Store(str(tmp_path / "store"))
    commit_night(store, 1, 100)
    with pytest.raises(ValueError, match="no picture; accepted is a folder with"):
        evaluate(store, reference=str(tmp_path))
