import numpy as np
import pytest
import torch
from PIL import Image

from curation import dual_encoder_views
from curation.dual_encoder_data import Pair
from curation.dual_encoder_views import HELD_OUT_STYLE, TaughtPictures, make_views


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
    return TaughtPictures(np.tile(rows, (1, 80)), np.tile(rows, (1, 128)))


def test_views_carry_the_teachers_word_and_hide_one_art_style(pairs, monkeypatch):
    monkeypatch.setattr(dual_encoder_views, "NUM_STYLISED", 6)
    monkeypatch.setattr(dual_encoder_views, "NUM_SCREENSHOTS", 5)
    views = make_views(pairs, mean_colours, seed=0)
    crops = dual_encoder_views.COCO_CROPS + dual_encoder_views.CLOTHING_CROPS
    assert views.pixels.shape == (crops + 6 + 2 + 5, 3, 112, 112)
    assert views.targets.shape == (len(views.pixels), 192) and views.words.shape == (len(views.pixels), 384)
    assert torch.allclose(views.words.norm(dim=1), torch.ones(len(views.pixels)))
    assert int(views.has_words.sum()) == dual_encoder_views.COCO_CROPS
    assert int(views.is_cartoon.sum()) == 2
    assert int((~views.knows_look).sum()) == 1, "the art style that is held out is never called a cartoon"
    assert bool(views.is_cartoon[~views.knows_look].all())
    again = make_views(pairs, mean_colours, seed=0)
    assert torch.equal(views.pixels, again.pixels)
