import numpy as np
import pytest

from curation.sample.scene_judge import ATTRIBUTES, judge_targets
from curation.sample.scene_scores import (
    ASPECTS,
    RULED,
    log_likelihood,
    order_evidence,
    rule_matrix,
    score_matrix,
    score_scene,
)
from curation.sample.scenes import CONVERSE, Scene, Thing, draw

PAIR = Scene("snow", "flat", (Thing("star", "red"), Thing("box", "blue")), relation="left_of")
SIDED = Scene("wood", "shaded", (Thing("fish", "pink"),), side="left")
GROUP = Scene("night", "flat", (Thing("tree", "green", count=3),))


def readings_of(*scenes, sure=0.9):
    """What a judge that is right gives; where nothing is asked it is unsure."""
    found = {}
    for name, classes in ATTRIBUTES.items():
        rows = np.full((len(scenes), len(classes)), (1 - sure) / (len(classes) - 1))
        for row, scene in zip(rows, scenes, strict=True):
            target = judge_targets(scene)[name]
            row[:] = 1 / len(classes) if target < 0 else row
            if target >= 0:
                row[target] = sure
        found[name] = np.log(rows)
    return found


def test_a_picture_of_what_was_asked_scores_one_in_all_that_is_asked():
    for scene, unasked in ((PAIR, {"side"}), (SIDED, {"relation"}), (GROUP, {"side", "relation", "position"})):
        scores = {name: float(score[0]) for name, score in score_scene(readings_of(scene), scene).items()}
        assert tuple(scores) == ASPECTS
        assert {name for name, score in scores.items() if np.isnan(score)} == unasked
        assert all(score == 1 for name, score in scores.items() if name not in unasked)


def test_likelihood_tells_sure_from_less_sure_where_both_are_right_and_counts_what_is_asked_alone():
    scenes = (PAIR, SIDED, GROUP)
    for sure in (0.9, 0.6):
        np.testing.assert_allclose(log_likelihood(readings_of(*scenes, sure=sure), scenes), np.log(sure))
    assert (log_likelihood(readings_of(SIDED, GROUP, PAIR), scenes) < np.log(0.6)).all(), "another scene's pictures"


def test_swapped_things_have_the_right_axis_and_the_wrong_relation():
    swapped = Scene(PAIR.background, PAIR.style, PAIR.things[::-1], relation="left_of")
    scores = score_scene(readings_of(swapped), PAIR)
    assert scores["relation"][0] == scores["shape"][0] == scores["colour"][0] == 0
    assert scores["background"][0] == scores["count"][0] == 1
    assert order_evidence(readings_of(swapped), PAIR)[0] == pytest.approx(-order_evidence(readings_of(PAIR), PAIR)[0])


def test_the_order_can_be_right_though_one_shape_is_not():
    other = Scene("snow", "flat", (Thing("heart", "red"), Thing("box", "blue")), relation="left_of")
    scores = score_scene(readings_of(other), PAIR)
    assert scores["shape"][0] == 0.5 and scores["relation"][0] == 1


def test_two_things_are_no_group_of_two_and_one_is_no_pair():
    group_of_two = Scene("snow", "flat", (Thing("star", "red", count=2),))
    pair = readings_of(PAIR) | {"count": readings_of(group_of_two)["count"]}  # the count head may say two of a pair
    assert score_scene(pair, group_of_two)["count"][0] == 0
    assert score_scene(readings_of(group_of_two), PAIR)["count"][0] == 0


def test_a_scene_told_from_its_other_end_scores_the_same():
    told = Scene(PAIR.background, PAIR.style, PAIR.things[::-1], relation=CONVERSE["left_of"])
    for name, score in score_scene(readings_of(PAIR), told).items():
        np.testing.assert_array_equal(score, score_scene(readings_of(PAIR), PAIR)[name])


def test_rows_are_pictures_and_columns_are_prompts():
    scenes = [PAIR, SIDED, GROUP]
    found = score_matrix(readings_of(*scenes), scenes)
    assert found["background"].tolist() == np.eye(3).tolist()
    assert np.isnan(found["relation"][:, 1:]).all() and found["relation"][:, 0].tolist() == [1, 0, 0]
    images = [np.asarray(draw(scene, (64, 64), seed=3)) for scene in scenes]
    ruled = rule_matrix(images, scenes)
    assert tuple(ruled) == RULED
    assert np.diagonal(ruled["rule_colour"]).tolist() == [1, 1, 1] and ruled["rule_colour"][1, 0] == 0
    assert np.diagonal(ruled["rule_position"]).tolist()[:2] == [1, 1]
