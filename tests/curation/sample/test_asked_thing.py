import numpy as np
import pytest

from curation.sample.asked_thing import asked_probability, picture_score
from curation.sample.scene_judge import SceneJudge
from curation.sample.scene_judge_fit import draw_at
from curation.sample.scenes import Scene, Thing
from ray_jobs.job_configs import SAMPLE_MODELS


@pytest.fixture(scope="module")
def judge():
    return SceneJudge.load(SAMPLE_MODELS / "judge")


def asked(kind, colour, count=1):
    return Scene("white", "flat", (Thing(kind, colour, count),))


DRAWN = Scene("meadow", "flat", (Thing("ball", "red"),))
PAIR = Scene("snow", "shaded", (Thing("box", "blue"), Thing("ball", "red")), relation="left_of")
TWO = Scene("sky", "flat", (Thing("ball", "red", count=2),))


def test_the_asked_thing_is_found_alone_in_a_pair_and_in_its_number(judge):
    pictures = [draw_at(scene, (64, 64), seed) for seed, scene in enumerate([DRAWN, PAIR, TWO])]
    readings = judge.read(pictures)
    red_ball = asked_probability(readings, [asked("ball", "red")] * 3)
    assert red_ball[0] > 0.7 and red_ball[1] > 0.7 and red_ball[2] < 0.3
    assert asked_probability(readings, [asked("ball", "red", 2)] * 3)[2] > 0.7
    for other in (asked("ball", "green"), asked("star", "red"), asked("ball", "red", 3)):
        assert asked_probability(readings, [other] * 3).max() < 0.3


def test_a_picture_of_melted_things_scores_lower(judge):
    clean = draw_at(DRAWN, (64, 64), 0)
    rng = np.random.default_rng(0)
    melted = np.clip(clean.astype(float) * 0.4 + 255 * 0.6 * rng.random(clean.shape), 0, 255).astype(np.uint8)
    good, bad = picture_score(judge.read([clean, melted]), [asked("ball", "red")] * 2)
    assert good > bad and good <= 0
