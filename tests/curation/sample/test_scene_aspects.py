import numpy as np
import pytest

from curation.sample.scene_aspects import colour_caption, layout_caption, palette
from curation.sample.scene_captions import BACKGROUNDS_EN, BACKGROUNDS_ZH, COLOURS_ZH, KINDS_ZH
from curation.sample.scenes import COLOURS, KINDS, Scene, Thing, draw, draw_edges, random_scene


def scenes(count=60, form="single"):
    rng = np.random.default_rng(0)
    return [random_scene(rng, form=form) for _ in range(count)]


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_layout_names_kind_and_place_but_no_colour_and_no_background(language):
    colours = tuple(COLOURS) if language == "en" else tuple(COLOURS_ZH.values())
    places = sum((BACKGROUNDS_EN if language == "en" else BACKGROUNDS_ZH).values(), ())
    for scene in scenes() + scenes(20, "group"):
        told = layout_caption(scene, language)
        kind = scene.things[0].kind
        assert (kind if language == "en" else KINDS_ZH[kind][1]) in told
        assert not [word for word in (*colours, *places) if word in told.split() or (word in told and len(word) > 5)]


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_colours_name_no_kind_and_no_place(language):
    rng = np.random.default_rng(1)
    for scene in scenes():
        told = colour_caption(scene, language, rng)
        colour = scene.things[0].colour
        assert (colour if language == "en" else COLOURS_ZH[colour]) in told
        kinds = KINDS if language == "en" else [name for _, name in KINDS_ZH.values()]
        assert not [kind for kind in kinds if kind in told.split() or (language == "zh" and kind in told)]
        assert "side" not in told
        assert "侧" not in told


def test_captions_are_told_as_people_say_them():
    scene = Scene("beach", "flat", (Thing("star", "red", size="large"),))
    assert layout_caption(scene, "en") == "a large star"
    assert layout_caption(scene, "zh") == "一颗大大的星星"
    sided = Scene("beach", "flat", (Thing("fish", "red"),), side="left")
    assert layout_caption(sided, "en") == "a fish on the left side of the picture"
    assert layout_caption(sided, "zh") == "一条鱼在画面左侧"
    assert layout_caption(Scene("beach", "flat", (Thing("box", "red", count=3),)), "en") == "three boxes"


def test_a_pair_has_no_single_aspect():
    pair = scenes(1, "pair")[0]
    with pytest.raises(ValueError, match="things: got 2"):
        layout_caption(pair, "en")
    with pytest.raises(ValueError, match="things: got 2"):
        colour_caption(pair, "en", np.random.default_rng(0))


def test_edges_lie_on_the_things_and_tell_no_colour():
    """Two scenes that differ in colour and background alone have the same edges; they lie where the pictures differ from
    an empty background."""
    here = Scene("white", "flat", (Thing("star", "red"),), side="left")
    there = Scene("white", "flat", (Thing("star", "blue"),), side="left")
    edges = np.asarray(draw_edges(here, (64, 64), 3))
    assert (edges == np.asarray(draw_edges(there, (64, 64), 3))).all()
    lit = edges.max(2) > 127
    assert 20 < lit.sum() < 600
    picture = np.asarray(draw(here, (64, 64), 3)).astype(int)
    assert (abs(picture - picture[0, -1]).max(2)[lit] > 40).mean() > 0.9


def test_a_palette_keeps_the_mean_and_loses_the_shape():
    picture = np.asarray(draw(scenes(1)[0], (64, 64), 0))
    coarse = palette(picture)
    assert coarse.shape == picture.shape
    assert len(np.unique(coarse.reshape(-1, 3), axis=0)) <= 16
    assert np.abs(coarse.mean((0, 1)) - picture.mean((0, 1))).max() < 1
