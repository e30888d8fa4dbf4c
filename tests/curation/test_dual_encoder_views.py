import numpy as np
import pytest
import torch
from PIL import Image

from curation import dual_encoder_views
from curation.dual_encoder_data import Pair
from curation.dual_encoder_views import HELD_OUT_STYLE, TaughtViews, fit_caption_space, make_views


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
    monkeypatch.setattr(dual_encoder_views, "NUM_STYLISED", 6)
    monkeypatch.setattr(dual_encoder_views, "NUM_SCREENSHOTS", 5)
    views = make_views(pairs, mean_colours, seed=0)
    crops = dual_encoder_views.COCO_CROPS + dual_encoder_views.CLOTHING_CROPS
    assert views.pixels.shape == (crops + 6 + 2 + 5, 3, 112, 112)
    assert views.targets.shape == (len(views.pixels), 192)
    assert [int((views.owner == at).sum()) for at in (-1, 0, 1, 2, 3)] == [11, 30, 5, 1, 1]
    assert int(views.is_cartoon.sum()) == 2
    assert int((~views.knows_look).sum()) == 1, "the art style that is held out is never called a cartoon"
    assert bool(views.is_cartoon[~views.knows_look].all())
    again = make_views(pairs, mean_colours, seed=0)
    assert torch.equal(views.pixels, again.pixels)


def test_the_caption_space_teacher_finds_a_linear_relation_again():
    torch.manual_seed(0)
    features = torch.nn.functional.normalize(torch.randn(400, 192), dim=-1)
    relation = torch.randn(192, 256)
    centres = torch.nn.functional.normalize(features[:300] @ relation + 3.0, dim=-1)
    owner = torch.cat([torch.arange(300), torch.full((100,), -1)])
    marks = torch.ones(400, dtype=torch.bool)
    views = TaughtViews(torch.zeros(400, 3, 1, 1, dtype=torch.uint8), features, owner, marks, marks)
    taught = fit_caption_space(views, centres, penalty=1e-4)
    assert torch.allclose(taught.mean, centres.mean(0), atol=1e-5)
    known = torch.arange(300)
    assert float(taught.loss(known, centres)) < 0.01
    assert float(taught.loss(known, centres[torch.randperm(300)])) > 0.5
    unseen = torch.nn.functional.normalize(features[300:] @ relation + 3.0, dim=-1)
    assert float(taught.loss(torch.arange(300, 400), unseen)) < 0.3, "views without a caption are placed too"
