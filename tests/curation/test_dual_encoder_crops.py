import numpy as np
import pytest
from PIL import Image

from curation.dual_encoder_crops import View, crops, jitter, mixed, on_backdrop, pasted
from curation.dual_encoder_data import Pair


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def saved(path, pixels, source):
    Image.fromarray(pixels).save(path)
    return Pair(path, source, source, ("a name",), (), "train")


def plain(colour, owner):
    return View(Image.new("RGB", (224, 224), colour), "photos_coco", owner)


def test_the_first_window_is_the_whole_photograph_and_no_other_has_an_empty_corner(tmp_path, rng):
    pixels = np.full((60, 90, 3), 255, np.uint8)
    pixels[:, :45, 0] = 200
    photograph = saved(tmp_path / "a.png", pixels, "photos_coco")
    found = list(crops(photograph, 3, 12, rng))
    assert len(found) == 12 and all(view.image.size == (224, 224) for view in found)
    assert {(view.source, view.owner, view.other) for view in found} == {("photos_coco", 3, -1)}
    whole = np.asarray(found[0].image)
    assert whole[:, :100, 0].mean() < 205 and whole[:, 124:, 0].mean() > 250
    assert min(np.asarray(view.image).min() for view in found) > 60, "black would be an empty corner"


def test_a_mixture_shows_both_and_names_both(rng):
    for _ in range(6):
        view = mixed(plain((255, 0, 0), 1), plain((0, 0, 255), 2), rng)
        pixels = np.asarray(view.image).reshape(-1, 3).astype(float).mean(0)
        assert pixels[0] > 10 and pixels[2] > 10
        assert (view.owner, view.other, view.source) == (1, 2, "mixed")


def test_a_cut_out_lies_on_a_backdrop_or_on_a_photograph(tmp_path, rng):
    pixels = np.zeros((40, 40, 4), np.uint8)
    pixels[10:30, 10:30] = (0, 200, 0, 255)
    emoji = saved(tmp_path / "e.png", pixels, "emoji_noto")
    alone = np.asarray(on_backdrop(emoji, 5, rng).image)
    assert tuple(alone[112, 112]) == (0, 200, 0) and tuple(alone[0, 0]) != (0, 0, 0)
    view = pasted(emoji, 5, plain((255, 0, 0), 2), rng)
    assert (view.owner, view.other, view.source) == (5, 2, "pasted")
    colours = {tuple(colour) for colour in np.asarray(view.image).reshape(-1, 3)}
    assert {(0, 200, 0), (255, 0, 0)} <= colours


def test_jitter_changes_colours_and_not_the_size(rng):
    image = Image.new("RGB", (8, 8), (180, 60, 30))
    found = {jitter(image, rng).getpixel((0, 0)) for _ in range(10)}
    assert len(found) == 10
