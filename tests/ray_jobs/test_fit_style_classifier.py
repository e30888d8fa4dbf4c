"""The command from labelled pictures to a head that score_images uses, on drawn scenes and on photographs and emoji."""

import json
import shutil
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from ray_jobs import cli, fit_style_classifier
from ray_jobs.fit_style_classifier import StyleFit, resolve_tower

NUM_DRAWN = 120


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    """Scenes drawn flat (the cartoons), scenes drawn shaded, screenshots; and a torn picture among them."""
    from curation.sample.scenes import draw, random_scene
    from curation.sample.screenshots import draw_screenshot

    folder = tmp_path_factory.mktemp("scenes")
    rng = np.random.default_rng(0)
    for label, style in (("cartoon", "flat"), ("photo", "shaded")):
        (folder / label).mkdir()
        for number in range(NUM_DRAWN):
            draw(random_scene(rng, style=style), (96, 96), number).save(folder / label / f"{number:03d}.png")
    (folder / "screenshot").mkdir()
    for number in range(30):
        draw_screenshot(rng, 96).save(folder / "screenshot" / f"{number:03d}.png")
    torn = (folder / "photo" / "000.png").read_bytes()
    (folder / "photo" / "torn.png").write_bytes(torn[: len(torn) // 2])
    return folder


@pytest.fixture(scope="module")
def fitted(scenes, tmp_path_factory):
    """(output folder, report) of the first run."""
    output = tmp_path_factory.mktemp("fitted")
    return output, fit(scenes, output)


def fit(pictures, output, say=lambda _: None, **settings):
    """One run with the sample's scorer."""
    defaults = {"tower": "sample", "positive": "cartoon", "device": "cpu", "wanted_precision": 0.8}
    return fit_style_classifier.fit_style_classifier(
        StyleFit(pictures=pictures, output=output, **(defaults | settings)), say
    )


def test_flat_and_shaded_scenes_are_told_apart_and_no_picture_vanishes(fitted):
    output, report = fitted
    assert report["calibration"]["area"] > 0.9
    assert report["labels"] == {"cartoon": 120, "photo": 120, "screenshot": 30}
    assert report["rows"] == {"listed": 271, "used": 270, "left": {"truncated": 1}, "ignored": 0}
    stored = json.loads((output / "report.json").read_text(encoding="utf-8"))
    assert stored["calibration"]["area"] == report["calibration"]["area"]
    text = (output / "report.md").read_text(encoding="utf-8")
    assert "truncated 1" in text and "| screenshot | 30 | 0 |" in text and "only 120 positive pictures" in text
    with Image.open(output / "reliability.png") as image:
        assert image.size == (2080, 1120)
    rows = pq.read_table(output / "pictures.parquet").to_pylist()
    assert len(rows) == 271 and [row["name"] for row in rows if row["reason"]] == ["photo/torn.png"]
    sure = [row for row in rows if row["decision"] in ("yes", "no")]
    right = [(row["decision"] == "yes") == (row["label"] == "cartoon") for row in sure]
    assert len(sure) > 60 and np.mean(right) > 0.85


def tell_new_scenes(classifier, num=80):
    """(truth, probabilities) of scenes that no run has seen."""
    from curation.clip_scorer import ClipScorer
    from curation.sample.scenes import draw, random_scene
    from ray_jobs.job_configs import SAMPLE_MODELS

    rng = np.random.default_rng(99)
    styles = ["flat", "shaded"] * (num // 2)
    drawn = [draw(random_scene(rng, style=style), (96, 96), 1000 + at) for at, style in enumerate(styles)]
    embeddings = ClipScorer(SAMPLE_MODELS / "scorer").embed_images(drawn)
    return np.array([style == "flat" for style in styles]), classifier(embeddings).astype(np.float64)


def test_the_head_tells_calibrated_probabilities_and_brings_its_band(fitted):
    from curation.calibration import brier_score
    from curation.cartoon_classifier import CartoonClassifier
    from curation.linear_head import bind_head, read_head

    output, report = fitted
    path, fingerprint = output / "cartoon_head.safetensors", report["tower"]["fingerprint"]
    classifier = CartoonClassifier.load(path, fingerprint)
    band = report["calibration"]["band"]
    assert (classifier.low, classifier.high) == (band["negative"]["threshold"], band["positive"]["threshold"])
    assert classifier.version == report["head"]["version"] and read_head(path)[1]["positive_label"] == "cartoon"
    chosen = CartoonClassifier.load(path, fingerprint, low=0.1, high=0.9)
    assert (chosen.low, chosen.high) == (0.1, 0.9)
    assert report["calibration"]["band"]["positive"]["is_shown"]
    truth, probabilities = tell_new_scenes(classifier)
    sure = (probabilities >= classifier.high) | (probabilities <= classifier.low)
    assert sure.mean() > 0.3 and ((probabilities > 0.5) == truth)[sure].mean() > 0.85
    assert brier_score(probabilities, truth, np.ones(len(truth))) < 0.17, "always telling the share: 0.25"
    bind_head(path, output / "copy.safetensors", fingerprint)
    assert CartoonClassifier.load(output / "copy.safetensors", fingerprint).high == classifier.high


def test_a_rerun_embeds_nothing_and_leaves_the_head_alone_and_names_do_not_matter(fitted, scenes, tmp_path):
    from curation.linear_head import read_head

    output, report = fitted
    head = output / "cartoon_head.safetensors"
    files, said = (head, output / "report.json", output / "reliability.png"), []
    before = [head.stat().st_ino, *(file.read_bytes() for file in files)]
    fit(scenes, output, said.append)
    assert "embedded 271 of 271 pictures (0 now)" in said
    assert [head.stat().st_ino, *(file.read_bytes() for file in files)] == before
    rng = np.random.default_rng(5)
    for label in ("cartoon", "photo", "screenshot"):
        (tmp_path / "renamed" / label).mkdir(parents=True)
        files = sorted((scenes / label).iterdir())
        for number, at in enumerate(rng.permutation(len(files))):
            shutil.copy(files[at], tmp_path / "renamed" / label / f"{number}.png")
    shutil.copytree(output / "embeddings", tmp_path / "other" / "embeddings")
    renamed = fit(tmp_path / "renamed", tmp_path / "other")
    assert renamed["head"]["version"] == report["head"]["version"]
    tensors = [read_head(folder / "cartoon_head.safetensors")[0][0] for folder in (output, tmp_path / "other")]
    assert tensors[0][0].tobytes() == tensors[1][0].tobytes() and tensors[0][1] == tensors[1][1]


@pytest.mark.ray
def test_score_images_uses_the_head_by_the_written_preset(fitted, run_in, folder_store, sample_site, tmp_path):
    from ray_jobs.config import job_settings
    from ray_jobs.job import plan_job, run_job
    from ray_jobs.parts import read_rows

    output, report = fitted
    url_list, host = sample_site
    lines = url_list.read_text(encoding="utf-8").splitlines()
    (tmp_path / "short.jsonl").write_text("\n".join([*lines[:24], *lines[-8:]]), encoding="utf-8")
    run_in(folder_store, "register_url_list", path=str(tmp_path / "short.jsonl"))
    runtime = {"workers": 1, "cpus_per_worker": 0.5}
    run_in(folder_store, "download_images", allow_hosts=[host], timeout_s=1.5, retries=0, runtime=runtime)
    runs = []
    for job in ("score_images", "build_training_set"):
        settings = job_settings(job, str(output / "preset.toml"), {"runtime": runtime})
        runs.append(run_job(plan_job(job, settings, {}, folder_store), folder_store))
    decided, band = runs[1].manifest.config, report["calibration"]["band"]
    assert decided["cartoon_low"] == band["negative"]["threshold"]
    assert decided["cartoon_high"] == band["positive"]["threshold"]
    rows = read_rows(folder_store, runs[0].manifest, ["scorer", "cartoon_probability"]).to_pylist()
    assert all(report["head"]["version"] in row["scorer"] for row in rows)
    kept = read_rows(folder_store, runs[1].manifest, ["style", "cartoon_probability"]).to_pylist()
    told = [row["cartoon_probability"] for row in kept if row["style"] is not None]
    assert len(told) > 10 and np.ptp(told) > 0.3
    is_cartoon = [row["style"] == "cartoon" for row in kept if row["style"] is not None]
    assert is_cartoon == [one >= decided["cartoon_high"] for one in told] and any(is_cartoon)


def test_groups_of_a_parquet_stay_on_one_side(scenes, fitted, tmp_path):
    names = [f"{label}/{number:03d}.png" for label in ("cartoon", "photo") for number in range(NUM_DRAWN)]
    table = {
        "image": [{"bytes": (scenes / name).read_bytes(), "path": None} for name in names],
        "label": [name.split("/")[0] for name in names],
        "group": [f"film {number // 12}" for number in range(len(names))],
        "source": [f"site {number % 2}" for number in range(len(names))],
    }
    pq.write_table(pa.table(table), tmp_path / "labelled.parquet")
    shutil.copytree(fitted[0] / "embeddings", tmp_path / "output" / "embeddings")
    report = fit(tmp_path / "labelled.parquet", tmp_path / "output", positive_share=0.2, calibration="temperature")
    assert report["split"] == {"folds": 5, "units": 20, "largest_unit": 12, "by": "group and look"}
    rows = pq.read_table(tmp_path / "output" / "pictures.parquet").to_pylist()
    assert len({(row["group"], row["fold"]) for row in rows}) == 20
    assert [row["name"] for row in report["calibration"]["strata"]["source"]] == ["site 0", "site 1"]
    assert report["calibration"]["scale"]["offset"] == 0


@pytest.fixture
def tiny_model(monkeypatch, tmp_path):
    """A model added to open_clip's list, and a checkpoint of it with random weights: (name, file, its config)."""
    import torch
    from safetensors.torch import save_file

    from curation.torchvision_ops import declare_missing_ops

    declare_missing_ops()
    import open_clip
    from open_clip import factory

    vision = {"image_size": 32, "layers": 1, "width": 32, "patch_size": 8, "head_width": 16}
    text = {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}
    config = {"embed_dim": 16, "vision_cfg": vision, "text_cfg": text}
    monkeypatch.setitem(factory._MODEL_CONFIGS, "Tiny-8", config)
    torch.manual_seed(0)
    save_file(open_clip.create_model("Tiny-8").state_dict(), tmp_path / "tiny.safetensors")
    return "Tiny-8", tmp_path / "tiny.safetensors"


def test_a_model_of_open_clips_list_becomes_a_folder_that_gives_the_same(tiny_model, scenes, tmp_path):
    from curation.clip_scorer import ClipScorer

    name, checkpoint = tiny_model
    report = fit(scenes, tmp_path / "output", tower=f"{name}:{checkpoint}")
    folder = report["tower"]["source"]
    assert ClipScorer(folder).fingerprint == report["tower"]["fingerprint"]
    assert folder in (tmp_path / "output" / "preset.toml").read_text(encoding="utf-8")
    assert resolve_tower(f"{name}:{checkpoint}", tmp_path / "output") == folder
    with pytest.raises(
        ValueError, match=r"Tiny-8 has no pretrained weights 'laion9b'; accepted are a checkpoint file or"
    ):
        resolve_tower(f"{name}:laion9b", tmp_path / "output")
    with pytest.raises(ValueError, match=r"open_clip has no model 'ViT-B-33'; near: .*ViT-B-32"):
        resolve_tower("ViT-B-33:openai", tmp_path / "output")


def test_unknown_towers_are_named(scenes, tmp_path):
    with pytest.raises(ValueError, match=r"tower: 'CLIP' is unknown; accepted are local-dir:FOLDER, hf-hub:"):
        resolve_tower("CLIP", tmp_path)
    with pytest.raises(ValueError, match=r"no open_clip_config.json there"):
        fit(scenes, tmp_path, tower=f"local-dir:{tmp_path}")
    with pytest.raises(ValueError, match=r"hf-hub:laion/CLIP: name a revision"):
        fit(scenes, tmp_path, tower="hf-hub:laion/CLIP")


def test_the_command_is_one_clear_line_on_a_wrong_request(scenes, tmp_path, monkeypatch, capsys):
    wanted = ["--tower", "sample", "--pictures", str(scenes), "--positive", "comic", "--output", str(tmp_path)]
    for module, command in ((fit_style_classifier, []), (cli, ["fit-style"])):
        for more, message in (
            ([], "error: positive: 'comic' is no label of"),
            (["--set", "fold=3"], "error: fold = 3: Extra inputs are not permitted; the keys there are: tower"),
        ):
            monkeypatch.setattr(sys, "argv", ["program", *command, *wanted, *more])
            with pytest.raises(SystemExit) as left:
                module.main()
            told = capsys.readouterr().err
            assert left.value.code == 2 and told.count("\n") == 1 and told.startswith(message)


@pytest.mark.shared_data
def test_photographs_and_emoji_are_told_apart(shared_data, tmp_path):
    """Every tenth of the labelled pictures, 72 of them photographs: few, hence the low bounds."""
    kinds = {"photos_coco": "photo", "photos_clothing": "photo", "emoji_noto": "cartoon", "emoji_fluent3d": "cartoon"}
    found = [
        (path, kind)
        for name, kind in kinds.items()
        for path in sorted((shared_data / "images" / name).rglob("*.*"))[::10]
    ]
    table = {
        "path": [str(path) for path, _ in found],
        "label": [kind for _, kind in found],
        "source": [kind for _, kind in found],
    }
    pq.write_table(pa.table(table), tmp_path / "labelled.parquet")
    report = fit(tmp_path / "labelled.parquet", tmp_path / "output")
    assert report["rows"]["listed"] == len(found) and report["rows"]["used"] > 0.98 * len(found)
    calibration = report["calibration"]
    assert calibration["area"] > 0.9 and calibration["figures"]["brier"] < 0.06
    negative, positive = calibration["cross_fitted"]
    assert positive["precision"] > 0.9 and negative["precision"] > 0.9 and positive["recall"] > 0.9
