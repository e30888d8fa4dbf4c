"""What the tutorial tells a reader to type and to write is accepted."""

import itertools
import json
import re
import shlex
import tomllib
from pathlib import Path

import pytest

from ray_jobs.config import check_settings, job_settings, load_preset, parse_assignments
from ray_jobs.prompt_sources import read_prompt_file
from ray_jobs.register_prompts import to_rows

ROOT = Path(__file__).resolve().parents[2]
TUTORIAL = (ROOT / "docs" / "nightly-evaluation-of-your-own-model.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", TUTORIAL, flags=re.DOTALL)


@pytest.fixture
def preset(tmp_path):
    """The file that the tutorial has its reader write."""
    path = tmp_path / "mine.toml"
    path.write_text("".join(blocks("toml")), encoding="utf-8")
    return path


def test_the_preset_is_one_and_needs_no_training_set(preset):
    tables = tomllib.loads(preset.read_text())
    assert tables["extends"] == "evaluation" and load_preset(str(preset)).schedules == {"evaluate_nightly": "0 3 * * *"}
    evaluation = check_settings("evaluate_images", job_settings("evaluate_images", str(preset), {}))
    generation = check_settings("generate_images", job_settings("generate_images", str(preset), {}))
    assert evaluation.wanted_inputs(("training_set",)) == () and generation.wanted_inputs(("experts",)) == ()
    assert evaluation.reference == "/data/reference" and generation.model == "/models/my-sdxl"


def test_every_command_is_understood(preset):
    commands = [shlex.split(line, comments=True) for block in blocks("sh") for line in block.splitlines()]
    runs = [words[2:] for words in commands if words[:2] == ["pangu", "run"]]
    assert len(runs) >= 9
    for job, *options in runs:
        given = [value for name, value in itertools.pairwise(options) if name == "--set"]
        chosen = str(preset) if "--preset" in options else "sample"
        check_settings(job, job_settings(job, chosen, parse_assignments(given)))


def test_the_prompt_list_is_read_with_its_model_columns(tmp_path):
    path = tmp_path / "prompts.jsonl"
    path.write_text(blocks("json")[0], encoding="utf-8")
    rows = to_rows(read_prompt_file(path))
    assert [row["reason"] for row in rows] == [None, None] and rows[1]["language"] == "zh" and rows[1]["seed"] == 7
    assert json.loads(rows[1]["models"]) == {"their-model": "theirs/fish.png"} and rows[0]["models"] is None
