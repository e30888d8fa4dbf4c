import numpy as np
import pytest

from curation.sample.scenes import BACKGROUNDS, COLOURS, KINDS, STYLES, Scene, Thing, draw, random_scene


@pytest.mark.parametrize("style", STYLES)
def test_equal_arguments_draw_equal_pixels(style):
    scene = random_scene(np.random.default_rng(4), style=style)
    first = np.asarray(draw(scene, (96, 64), seed=11))
    assert first.shape == (64, 96, 3)
    assert np.array_equal(first, np.asarray(draw(scene, (96, 64), seed=11)))
    assert not np.array_equal(first, np.asarray(draw(scene, (96, 64), seed=12)))


def test_a_scene_survives_its_json():
    rng = np.random.default_rng(0)
    for _ in range(50):
        scene = random_scene(rng)
        assert Scene.from_json(scene.to_json()) == scene


@pytest.mark.parametrize("aspect", [0.25, 0.5, 1.0, 2.0, 4.0])
def test_every_thing_stays_inside_the_picture(aspect):
    rng = np.random.default_rng(1)
    size = (round(96 * aspect**0.5), round(96 / aspect**0.5))
    for seed in range(12):
        scene = random_scene(rng, aspect=aspect, style="flat")
        bare = np.asarray(draw(Scene("white", "flat", scene.things, scene.relation, scene.side), size, seed), float)
        edge = np.concatenate([bare[0], bare[-1], bare[:, 0], bare[:, -1]])
        assert (edge > 225).all(), scene


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("colour", list(COLOURS))
def test_a_thing_has_its_colour(kind, colour, style):
    scene = Scene("white", style, (Thing(kind, colour, size="large"),))
    pixels = np.asarray(draw(scene, (64, 64), seed=3), float)[10:54, 10:54].reshape(-1, 3)
    names = list(COLOURS)
    palette = np.array([COLOURS[name] for name in names], float)
    told = pixels[np.abs(pixels - 250).sum(1) > 90]
    unit = told / np.linalg.norm(told, axis=1, keepdims=True).clip(1)
    hue_unit = palette / np.linalg.norm(palette, axis=1, keepdims=True)
    is_dark = told.max(1) < 90
    nearest = (unit @ hue_unit[:-1].T).argmax(1)
    if colour == "black":
        assert is_dark.mean() > 0.35
    else:
        assert (nearest[~is_dark] == names.index(colour)).mean() > 0.35


def test_left_and_right_and_above_and_below_are_where_they_say():
    places = {"left_of": (0, -1), "right_of": (0, 1), "above": (1, -1), "below": (1, 1)}
    for relation, (axis, sign) in places.items():
        scene = Scene("white", "flat", (Thing("ball", "red"), Thing("box", "blue")), relation=relation)
        pixels = np.asarray(draw(scene, (96, 96), seed=5), float)
        red = np.argwhere(pixels[..., 0] - pixels[..., 2] > 90).mean(0)[::-1]
        blue = np.argwhere(pixels[..., 2] - pixels[..., 0] > 90).mean(0)[::-1]
        assert np.sign(red[axis] - blue[axis]) == sign


def test_backgrounds_look_different():
    things = (Thing("ball", "red", size="small"),)
    means = [np.asarray(draw(Scene(name, "flat", things), (48, 48)), float).mean((0, 1)) for name in BACKGROUNDS]
    gaps = [np.abs(a - b).sum() for at, a in enumerate(means) for b in means[:at]]
    assert min(gaps) > 12


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"background": "moon"}, "background"),
        ({"style": "oil"}, "style"),
        ({"things": ()}, "things"),
        ({"things": (Thing("dog", "red"),)}, "kind"),
        ({"things": (Thing("ball", "mauve"),)}, "colour"),
        ({"things": (Thing("ball", "red", count=4),)}, "count"),
        ({"relation": "above"}, "relation"),
        ({"side": "top"}, "side"),
    ],
)
def test_a_scene_that_cannot_be_drawn_is_refused(fields, field):
    good = {"background": "white", "style": "flat", "things": (Thing("ball", "red"),)}
    with pytest.raises(ValueError, match=field):
        Scene(**(good | fields))
