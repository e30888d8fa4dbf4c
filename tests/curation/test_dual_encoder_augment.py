import pytest
import torch
from PIL import Image

from curation import dual_encoder_pictures
from curation.dual_encoder_augment import (
    augment_clothing,
    augment_cut_outs,
    augment_drawn,
    augment_photos,
    augment_view,
    recolour,
    restyle,
)
from curation.dual_encoder_data import Pair
from curation.dual_encoder_pictures import read_named_pictures


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def test_every_kind_fills_the_range_and_the_size():
    pixels, may = torch.randint(0, 256, (8, 4, 112, 112), dtype=torch.uint8), torch.ones(8, dtype=torch.bool)
    found = [augment_cut_outs(pixels, may, may)]
    found += [augment(pixels, may) for augment in (augment_clothing, augment_photos)]
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


def test_only_what_no_name_gives_a_colour_is_recoloured():
    pixels = torch.zeros(60, 4, 112, 112, dtype=torch.uint8)
    pixels[:, 0], pixels[:, 3] = 220, 255
    never, always = torch.zeros(60, dtype=torch.bool), torch.ones(60, dtype=torch.bool)

    def reddish(may_recolour):
        middle = augment_cut_outs(pixels, never, may_recolour)[:, :, 40:56, 40:56].mean((2, 3))
        return (middle[:, 0] > middle[:, 1:].max(1).values + 60).float().mean()

    assert reddish(never) > 0.9
    assert reddish(always) < 0.8


def test_recolouring_turns_hues_and_keeps_greys_and_brightness():
    grey = torch.full((20, 3, 8, 8), 90.0)
    assert torch.allclose(recolour(grey), grey, atol=1e-3)
    red = torch.full((400, 3, 8, 8), 80.0)
    red[:, 0] = 150
    found = recolour(red)
    assert torch.allclose(found.mean(1), red.mean(1), atol=0.5)
    spread = found.amax(1) - found.amin(1)
    assert 0.08 < float((spread[:, 0, 0] < 1).float().mean()) < 0.25, "a share is all grey"
    assert len(set(found[:, 1, 0, 0].round().tolist())) > 20


def test_what_a_name_tells_is_not_changed_in_the_picture(tmp_path, monkeypatch):
    """No turned hue under a colour's name, no mirror image under a side's."""
    monkeypatch.setattr(
        dual_encoder_pictures, "encode_texts", lambda model, tokenizer, names: torch.eye(len(names), 256)
    )
    Image.new("RGBA", (20, 20), (200, 30, 30, 255)).save(tmp_path / "one.png")
    captions = [("Blue heart",), ("banana",), ("a dog", "a brown dog"), ("right hand",)]
    pairs = [Pair(tmp_path / "one.png", "emoji_noto", told[0], told, ("一",), "train") for told in captions]
    pictures = read_named_pictures(torch.nn.Identity(), None, pairs)
    assert pictures.may_recolour.tolist() == [False, True, False, True]
    assert pictures.may_mirror.tolist() == [True, True, True, False]
