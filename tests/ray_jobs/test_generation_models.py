"""Plain diffusers folders through the generation job."""

import importlib.util
import json
from pathlib import Path

import pytest

from pangu.provenance import read_origin
from ray_jobs.generation_worker import load_model
from ray_jobs.job_configs import digest_of_path
from ray_jobs.parts import read_rows


@pytest.fixture(scope="module")
def make_pipeline():
    """make(family): a small pipeline of the real class with random weights, as the generator's own tests build it."""
    path = Path(__file__).parents[1] / "pangu" / "test_diffusers_generator.py"
    spec = importlib.util.spec_from_file_location("tiny_diffusers_pipelines", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return lambda family: module.FAMILIES[family]()


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning:diffusers")
@pytest.mark.parametrize("family", ["sd", "sdxl", "pixart"])
def test_a_plain_diffusers_folder_generates_through_the_same_job(tmp_path, job, make_pipeline, monkeypatch, family):
    from ray_jobs import generation_worker

    folder = tmp_path / "my model"
    make_pipeline(family).save_pretrained(folder)
    monkeypatch.setattr(generation_worker, "load_model", load_model)
    job.register([{"prompt": "a red ball"}, {"prompt": "a box", "size": "32x16"}, {"prompt": "a hat", "bucket": 3}])
    manifest = job.generate(model=str(folder), size="16x16", steps=2)
    rows = {row["prompt"]: row for row in read_rows(job.store, manifest).to_pylist()}
    assert "experts" not in manifest.inputs and str(tmp_path) not in json.dumps(manifest.config)
    assert (rows["a red ball"]["width"], rows["a red ball"]["height"]) == (16, 16)
    assert (rows["a box"]["width"], rows["a box"]["height"]) == (32, 16)
    assert rows["a hat"]["reason"].startswith("refused: bucket: the model has no bucket table")
    digest = digest_of_path(folder)
    assert rows["a box"]["experts"] == digest and read_origin(rows["a box"]["image"]["bytes"]).version == digest
