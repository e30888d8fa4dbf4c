import numpy as np
import pytest
import torch
from PIL import Image

from curation import dual_encoder_views
from curation.dual_encoder_data import Pair
from curation.dual_encoder_views import HELD_OUT_STYLE, make_views


@pytest.fixture
def pairs(tmp_path):
    rng, found = np.random.default_rng(0), []
    for source, mode in (
        ("photos_coco", "RGB"),
        ("photos_clothing", "RGB"),
        (HELD_OUT_STYLE, "RGBA"),
        ("emoji_noto", "RGBA"),
    ):
        path = tmp_path / f"{source}.png"
        Image.fromarray(rng.integers(0, 256, (60, 80, len(mode)), np.uint8), mode).save(path)
        found.append(Pair(path, source, source, ("a name",), (), "train"))
    return found


def mean_colours(pictures):
    rows = np.stack([picture.reshape(-1, 3).mean(0) for picture in pictures]).astype(np.float32)
    return np.tile(rows, (1, 80))


def test_views_carry_the_teachers_word_and_hide_one_art_style(pairs, monkeypatch):
    for name, count in (
        ("COCO_CROPS", 9),
        ("CLOTHING_CROPS", 5),
        ("NUM_MIXED", 4),
        ("NUM_STYLISED", 6),
        ("NUM_PASTED", 3),
        ("NUM_SCREENSHOTS", 5),
    ):
        monkeypatch.setattr(dual_encoder_views, name, count)
    views = make_views(pairs, mean_colours, seed=0)
    assert views.pixels.shape == (9 + 5 + 4 + 6 + 2 + 3 + 5, 3, 112, 112)
    assert views.targets.shape == (len(views.pixels), 192)
    assert [int((views.owner[:14] == at).sum()) for at in (0, 1)] == [9, 5]
    assert bool((views.owner[14:18] == -1).all()), "a mixture has two owners, so none"
    assert bool((views.shows[14:18] >= 0).all())
    assert views.owner[24:26].tolist() == [2, 3] and bool((views.shows[-5:] == -1).all())
    assert int(views.is_cartoon.sum()) == 2
    assert int((~views.knows_look).sum()) == 1 + 3, "neither the held-out art style nor a cut-out on a photograph"
    assert bool(views.is_cartoon[24]) and not bool(views.knows_look[24])
    again = make_views(pairs, mean_colours, seed=0)
    assert torch.equal(views.pixels, again.pixels)
