import json

import numpy as np
import pytest
import torch

from curation.sample.scene_judge import (
    ATTRIBUTES,
    SIDE_PX,
    UNASKED,
    JudgeNetwork,
    SceneJudge,
    judge_targets,
    things_by_place,
)
from curation.sample.scenes import CONVERSE, Scene, Thing, draw, random_scene
from ray_jobs.job_configs import SAMPLE_MODELS

STAR, BOX = Thing("star", "red"), Thing("box", "blue")


@pytest.mark.parametrize("relation", ["left_of", "right_of", "above", "below"])
def test_a_pair_is_read_alike_from_either_end(relation):
    told = Scene("snow", "flat", (STAR, BOX), relation=relation)
    converse = Scene("snow", "flat", (BOX, STAR), relation=CONVERSE[relation])
    assert judge_targets(told) == judge_targets(converse)
    assert things_by_place(told) == things_by_place(converse)


def test_the_left_thing_is_first_and_a_pair_asks_no_count():
    targets = judge_targets(Scene("snow", "shaded", (STAR, BOX), relation="right_of"))
    named = {name: ATTRIBUTES[name][at] for name, at in targets.items() if at != UNASKED}
    assert named["first_kind"] == "box" and named["second_colour"] == "red"
    assert named["axis"] == "across" and named["style"] == "shaded" and named["background"] == "snow"
    assert "count" not in named and "size" not in named


def test_size_is_asked_only_of_a_single_thing_in_the_middle():
    free = Scene("snow", "flat", (Thing("star", "red", size="large"),))
    assert ATTRIBUTES["size"][judge_targets(free)["size"]] == "large"
    for bound in (Scene("snow", "flat", (STAR,), side="left"), Scene("snow", "flat", (Thing("star", "red", count=2),))):
        assert judge_targets(bound)["size"] == UNASKED


def test_a_saved_judge_reads_the_same(tmp_path):
    torch.manual_seed(0)
    judge = SceneJudge(JudgeNetwork().half().float())  # the weights that fp16 can hold
    images = [np.random.default_rng(at).integers(0, 256, (40, 30 + 9 * at, 3), np.uint8) for at in range(3)]
    before = judge.read(images)
    judge.save(tmp_path)
    after = SceneJudge.load(tmp_path).read(images, batch=2)
    assert set(before) == set(ATTRIBUTES)
    for name, readings in before.items():
        assert readings.shape == (3, len(ATTRIBUTES[name]))
        np.testing.assert_allclose(np.exp(readings).sum(1), 1, atol=1e-5)
        np.testing.assert_allclose(readings, after[name], atol=1e-4)


def test_a_folder_of_something_else_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"no config\.json"):
        SceneJudge.load(tmp_path)
    SceneJudge(JudgeNetwork()).save(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["attributes"]["count"] = ["1", "2"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="other attributes"):
        SceneJudge.load(tmp_path)


def test_the_carried_judge_reads_scenes_of_every_shape():
    judge = SceneJudge.load(SAMPLE_MODELS / "judge")
    rng = np.random.default_rng(90)
    sizes = [(SIDE_PX, SIDE_PX), (96, 48), (48, 96), (256, 256)]
    scenes = [random_scene(rng, aspect=width / height) for width, height in sizes for _ in range(12)]
    images = [np.asarray(draw(scene, sizes[at // 12], seed=at)) for at, scene in enumerate(scenes)]
    readings = judge.read(images)
    right = {name: [] for name in ATTRIBUTES}
    for at, scene in enumerate(scenes):
        for name, target in judge_targets(scene).items():
            if target != UNASKED:
                right[name].append(readings[name][at].argmax() == target)
    assert {name: np.mean(found) for name, found in right.items() if np.mean(found) < 0.85} == {}


def test_the_carried_judge_is_small():
    assert (SAMPLE_MODELS / "judge" / "model.safetensors").stat().st_size < 1_000_000
