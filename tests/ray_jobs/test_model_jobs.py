"""From a training set to the published site on a real Ray, with narrow random networks in place of trained ones."""

import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ray_jobs.artifacts import artifact_of
from ray_jobs.folder_versions import fetch_version
from ray_jobs.parts import read_rows
from ray_jobs.store import Store
from ray_jobs.versions import Versions

pytestmark = [pytest.mark.ray, pytest.mark.timeout(900)]  # whichever test comes first waits for the chain

EXPERTS = ("expert_structure", "expert_texture", "experts")
TRAINING = {"steps": 3, "batch_size": 8}
GENERATION = {"steps": 2, "batch_size": 4, "prompt_style_scale": 1.0}
UNUSABLE = (
    {"prompt_id": "empty", "prompt": " "},
    {"prompt_id": "far", "prompt": "a red ball", "bucket": 99},
    {"prompt_id": "baroque", "prompt": "a red ball", "style": "baroque"},
)
NUM_PROMPTS = 24


def runtime_of(workers):
    return {"workers": workers, "cpus_per_worker": 0.5}


def make_experts(run_in, store, base):
    """Those experts that are not there yet, and the pair: artifact name to manifest."""
    training = {**TRAINING, "base": str(base), "runtime": runtime_of(1)}
    outcomes = [run_in(store, f"train_{role}", **training) for role in ("structure", "texture")]
    outcomes.append(run_in(store, "publish_experts", base=str(base)))
    return {outcome.manifest.artifact: outcome.manifest for outcome in outcomes}


def generate(run_in, store, prompts, *, workers, rows_per_part):
    """Prompts and pictures: artifact name to manifest."""
    outcomes = [
        run_in(store, "register_prompts", path=str(prompts), rows_per_part=rows_per_part),
        run_in(store, "generate_images", runtime=runtime_of(workers), **GENERATION),
    ]
    return {outcome.manifest.artifact: outcome.manifest for outcome in outcomes}


def copy_version(source, target, manifest):
    """A committed version in another store, its files as they are."""
    for name in source.names(manifest.prefix):
        target.create(name, source.read(name))
    Versions(target).list_in_log(manifest)


@pytest.fixture(scope="session")
def prompt_file(tmp_path_factory):
    """The sample's own prompts, of several shapes and languages, and three that no picture can be made of."""
    from ray_jobs.register_prompts import write_sample_prompts

    rows = [*write_sample_prompts(NUM_PROMPTS - len(UNUSABLE)), *UNUSABLE]
    path = tmp_path_factory.mktemp("prompts") / "prompts.jsonl"
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def curated(curate, tmp_path_factory):
    """A store that ends at the training set; later tests work on copies."""
    store = Store(str(tmp_path_factory.mktemp("curated") / "store"))
    curate(store)
    return store


@pytest.fixture(scope="session")
def chain(run_in, curated, tiny_base, prompt_file, tmp_path_factory):
    """The whole chain once: (store, artifact name to manifest)."""
    folder = tmp_path_factory.mktemp("chain") / "store"
    shutil.copytree(curated.root, folder)
    store = Store(str(folder))
    found = make_experts(run_in, store, tiny_base)
    found |= generate(run_in, store, prompt_file, workers=1, rows_per_part=8)
    for job in ("evaluate_images", "compare_models", "write_history", "publish_dashboard"):
        settings = {"night": "2026-11-27"} if job == "compare_models" else {}
        manifest = run_in(store, job, runtime=runtime_of(1), **settings).manifest
        found[manifest.artifact] = manifest
    return store, found


def test_every_job_commits_what_it_was_made_from(chain):
    store, found = chain
    versions = Versions(store)
    for artifact, manifest in found.items():
        assert versions.latest(artifact) == manifest
        assert len(manifest.digest) == 64 and manifest.environment["torch"] and len(manifest.code) == 16
        for name, version in manifest.inputs.items():
            assert versions.find(artifact_of(name), version.key).digest == version.digest
    for role, time_range in (("structure", [500, 1000]), ("texture", [0, 500])):
        facts = found[f"expert_{role}"].facts
        assert (facts["role"], facts["steps"], facts["time_range"]) == (role, 3, time_range)
        assert len(facts["losses"]) == 3 and all(0 < loss < 10 for loss in facts["losses"])
        assert 0 < facts["pictures"] <= facts["pictures_in_set"]
        assert found["experts"].facts[role] == facts


def test_the_published_pair_loads_here_and_in_stock_diffusers(chain, tiny_base, tmp_path):
    import torch
    from diffusers import UNet2DConditionModel

    from pangu.pipeline import load_experts

    store, found = chain
    folder = fetch_version(store, found["experts"], tmp_path / "experts")
    pipeline, base = load_experts(folder), load_experts(tiny_base)
    assert (pipeline.card.split.boundary, len(pipeline.card.buckets)) == (500, 11)
    assert pipeline.card.structure.prediction_type == base.card.structure.prediction_type == "v_prediction"
    for role in ("structure", "texture"):
        stock = UNet2DConditionModel.from_pretrained(folder / role, use_safetensors=True).state_dict()
        ours, before = getattr(pipeline, role).state_dict(), getattr(base, role).state_dict()
        assert all(torch.equal(stock[name], ours[name]) for name in ours)
        assert any(not torch.equal(before[name], ours[name]) for name in ours), "training changed nothing"


def test_training_twice_gives_equal_bytes_wherever_the_base_stands(run_in, chain, curated, tiny_base, tmp_path):
    store, found = chain
    shutil.copytree(curated.root, tmp_path / "store")
    base = tmp_path / "another place"
    shutil.copytree(tiny_base, base)
    other = Store(str(tmp_path / "store"))
    copy_version(store, other, found["expert_structure"])
    again = make_experts(run_in, other, base)
    assert again["expert_texture"].commit_id != found["expert_texture"].commit_id, "trained anew"
    assert {name: again[name].digest for name in EXPERTS} == {name: found[name].digest for name in EXPERTS}


@pytest.mark.reliability(6)
@pytest.mark.reliability(24)
@pytest.mark.parametrize(("kind", "workers", "rows_per_part"), [("folder", 2, 3), ("s3", 1, 64)])
def test_pixels_do_not_depend_on_workers_parts_order_or_store(
    run_in, chain, prompt_file, tmp_path, request, kind, workers, rows_per_part
):
    store, found = chain
    lines = prompt_file.read_text(encoding="utf-8").splitlines()
    random.Random(rows_per_part).shuffle(lines)
    shuffled = tmp_path / "shuffled.jsonl"
    shuffled.write_text("\n".join(lines), encoding="utf-8")
    other = request.getfixturevalue(f"{kind}_store")
    copy_version(store, other, found["experts"])
    again = generate(run_in, other, shuffled, workers=workers, rows_per_part=rows_per_part)
    for name in ("prompts", "generated_images"):
        assert again[name].digest == found[name].digest, name
    columns = ["key", "image_sha256"]
    pixels = [read_rows(s, m["generated_images"], columns).to_pylist() for s, m in ((store, found), (other, again))]
    assert sorted(map(str, pixels[0])) == sorted(map(str, pixels[1]))


def test_another_run_seed_gives_other_pixels(run_in, chain):
    store, found = chain
    other = run_in(store, "generate_images", runtime=runtime_of(1), run_seed=1, **GENERATION).manifest
    assert other.digest != found["generated_images"].digest
    columns = ["key", "image_sha256"]
    first, second = (
        {row["key"]: row["image_sha256"] for row in read_rows(store, manifest, columns).to_pylist()}
        for manifest in (found["generated_images"], other)
    )
    assert first.keys() == second.keys()
    assert all(first[key] != second[key] for key in first if first[key])


@pytest.mark.reliability(7)
def test_every_prompt_ends_as_a_picture_or_a_reason(chain):
    import io

    from PIL import Image

    from curation.buckets import SAMPLE_BUCKETS

    store, found = chain
    counts = found["generated_images"].counts
    assert counts["in"] == NUM_PROMPTS and counts["kept"] == NUM_PROMPTS - len(UNUSABLE)
    assert sum(counts.values()) == 2 * NUM_PROMPTS
    rows = {row["prompt_id"]: row for row in read_rows(store, found["generated_images"]).to_pylist()}
    assert len(rows) == NUM_PROMPTS
    assert rows["empty"]["reason"] == "no_prompt" and rows["far"]["reason"] == "unknown_bucket"
    assert rows["baroque"]["reason"].startswith("refused: styles: got 'baroque'")
    for row in rows.values():
        assert (row["reason"] is None) == (row["image"] is not None) == (row["image_sha256"] is not None)
        if row["reason"] is None:
            picture = Image.open(io.BytesIO(row["image"]["bytes"]))
            assert (picture.height, picture.width) == SAMPLE_BUCKETS.rows[row["bucket"]].structure
            assert row["experts"] == found["experts"].digest


def test_figures_have_intervals_and_say_what_their_extractor_has_seen(chain):
    store, found = chain
    rows = read_rows(store, found["metrics"]).to_pylist()
    whole = [row for row in rows if row["stratum"] == "all"]
    assert len({row["metric"] for row in whole}) >= 3
    for row in rows:
        assert row["n"] > 0 and row["extractor"]
        if row["value"] is not None:
            assert row["low"] <= row["value"] <= row["high"], row
    flagged = {row["extractor"] for row in rows if row["note"].startswith("NOT INDEPENDENT")}
    assert len(flagged) == 1 and flagged.pop().startswith("sample-scorer")
    facts = found["metrics"].facts
    assert facts["generated"] == NUM_PROMPTS - len(UNUSABLE) and facts["reference"] > 0


def test_the_site_has_its_pages_and_the_pictures_on_them(chain, tmp_path):
    store, found = chain
    folder = fetch_version(store, found["dashboard"], tmp_path / "site")
    pages = found["dashboard"].facts["pages"]
    assert "index.html" in pages and len(pages) >= 4
    for page in pages:
        text = (folder / page).read_text(encoding="utf-8")
        assert text.lower().startswith("<!doctype html>") and found["metrics"].code in text, page
    for page in ("index.html", "training.html"):
        assert "Provisional sample models" in (folder / page).read_text(encoding="utf-8")
    assert list(folder.rglob("*.png")) or list(folder.rglob("*.webp")) or list(folder.rglob("*.jpg"))


def test_show_follows_a_figure_back_to_the_list_it_came_from(chain, sample_site):
    store, found = chain
    result = subprocess.run(
        [sys.executable, "-m", "ray_jobs.cli", "show", "metrics", "--store", store.uri],
        env={**os.environ, "COLUMNS": "400"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith(f"metrics@{found['metrics'].key[:12]}")
    lines = [line for line in result.stdout.splitlines() if "url_list@" in line]
    assert lines and all(f"from {Path(sample_site[0])}" in line for line in lines)


def test_a_second_run_of_every_job_does_nothing(run_in, chain, tiny_base, prompt_file):
    store, found = chain
    base = {"base": str(tiny_base)}
    settings = {
        "train_structure": {**TRAINING, **base},
        "train_texture": {**TRAINING, **base},
        "publish_experts": base,
        "register_prompts": {"path": str(prompt_file), "rows_per_part": 8},
        "generate_images": GENERATION,
    }
    for job, chosen in settings.items():
        outcome = run_in(store, job, **chosen)
        assert outcome.skipped and outcome.manifest == found[outcome.manifest.artifact], job
