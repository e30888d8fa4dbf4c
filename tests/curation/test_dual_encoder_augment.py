import pytest
import torch

from curation.dual_encoder_augment import (
    augment_clothing,
    augment_cut_outs,
    augment_drawn,
    augment_photos,
    augment_view,
    restyle,
)


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def test_every_kind_fills_the_range_and_the_size():
    pixels, may_mirror = torch.randint(0, 256, (8, 4, 112, 112), dtype=torch.uint8), torch.ones(8, dtype=torch.bool)
    found = [augment(pixels, may_mirror) for augment in (augment_cut_outs, augment_clothing, augment_photos)]
    found += [augment(pixels[:, :3]) for augment in (augment_drawn, augment_view)]
    for pictures in found:
        assert pictures.shape == (8, 3, 96, 96)
        assert float(pictures.min()) >= 0 and float(pictures.max()) <= 255
        assert float((pictures[0] - pictures[1]).abs().mean()) > 1


def left_and_right(pictures):
    half = pictures.shape[-1] // 2
    return pictures[..., :half].mean((1, 2, 3)), pictures[..., half:].mean((1, 2, 3))


def test_only_what_may_be_mirrored_is():
    pixels = torch.zeros(40, 4, 112, 112, dtype=torch.uint8)
    pixels[..., :56], pixels[:, 3] = 255, 255
    left, right = left_and_right(augment_photos(pixels, torch.zeros(40, dtype=torch.bool)))
    assert bool((left > right).all())
    left, right = left_and_right(augment_photos(pixels, torch.ones(40, dtype=torch.bool)))
    assert 5 < int((left < right).sum()) < 35
    left, right = left_and_right(augment_drawn(pixels[:, :3]))
    assert bool((left > right).all()), "a scene's sides stay what its caption says"


def test_a_restyled_drawing_keeps_its_hues():
    pixels = torch.full((30, 3, 64, 64), 20.0)
    pixels[:, 0] = 200
    found = restyle(pixels)
    assert bool((found[:, 0] > found[:, 1] + 20).all())
    assert torch.allclose(found[:, 1], found[:, 2], atol=1e-3)
    assert float(found[:, 0].std()) > 1, "tones differ from picture to picture"
