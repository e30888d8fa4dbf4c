import numpy as np
import pytest

from curation.sample.scene_painting import paint_background
from curation.sample.scene_rules import Blob, colour_rule, find_blobs, position_rule
from curation.sample.scenes import BACKGROUNDS, COLOURS, CONVERSE, HIDDEN_BY, RELATIONS, Scene, Thing, draw


@pytest.mark.parametrize("background", BACKGROUNDS)
def test_an_empty_background_shows_no_colour_that_scenes_use_there(background):
    image = np.asarray(paint_background(background, (64, 64), np.random.default_rng(33)))
    assert set(find_blobs(image, background)) <= {HIDDEN_BY.get(background)}


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("style", ["flat", "shaded"])
def test_a_colour_is_found_where_the_thing_stands(colour, style):
    scene = Scene("snow", style, (Thing("ball", colour),), side="right")
    blobs = find_blobs(np.asarray(draw(scene, (128, 128), seed=4)), "snow")
    assert colour_rule(blobs, scene) == 1
    assert blobs[colour].x == pytest.approx(0.75, abs=0.06) and blobs[colour].y == pytest.approx(0.53, abs=0.06)
    assert position_rule(blobs, scene) is True
    assert position_rule(blobs, Scene("snow", style, scene.things, side="left")) is False


@pytest.mark.parametrize("relation", RELATIONS)
def test_a_relation_holds_from_either_end_and_for_no_other(relation):
    things = (Thing("heart", "red"), Thing("car", "blue"))
    blobs = find_blobs(np.asarray(draw(Scene("meadow", "flat", things, relation), (96, 96), seed=1)), "meadow")
    for other in RELATIONS:
        assert position_rule(blobs, Scene("meadow", "flat", things, other)) is (other == relation)
    assert position_rule(blobs, Scene("meadow", "flat", things[::-1], CONVERSE[relation])) is True


def test_a_missing_colour_has_neither_presence_nor_place():
    scene = Scene("snow", "flat", (Thing("heart", "red"), Thing("car", "blue")), "left_of")
    blobs = {"red": Blob(0.2, 0.5, 0.1)}
    assert colour_rule(blobs, scene) == 0.5
    assert position_rule(blobs, scene) is False


def test_nothing_is_asked_of_a_thing_in_the_middle():
    assert position_rule({}, Scene("snow", "flat", (Thing("heart", "red"),))) is None


def test_specks_and_lines_are_no_blob():
    image = np.full((64, 64, 3), 250, np.uint8)
    image[20, 5:60] = COLOURS["red"]
    image[40:42, 40:42] = COLOURS["blue"]
    assert find_blobs(image, "white") == {}
    image[10:30, 10:30] = COLOURS["purple"]
    assert set(find_blobs(image, "white")) == {"purple"}
