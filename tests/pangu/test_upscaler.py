import numpy as np
import pytest
import torch

from pangu.upscaler import load_upscaler
from tests.pangu.small_pipelines import make_sd, make_upscaler


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    torch.manual_seed(0)
    root = tmp_path_factory.mktemp("upscaler")
    make_upscaler().save_pretrained(root)
    return root


def test_diffusers_upscaler_makes_pictures_larger_each_by_its_own_seed(folder):
    upscale = load_upscaler(str(folder))
    pictures = [np.full((16, 24, 3), level, np.uint8) for level in (30, 200)]
    made = upscale(pictures, ["a", "b"], [1, 2], 3, 2.0)
    assert [(each.shape, each.dtype) for each in made] == [((64, 96, 3), np.uint8)] * 2
    alone = upscale(pictures[1:], ["b"], [2], 3, 2.0)[0]
    assert np.array_equal(alone, made[1]), "a picture does not depend on its company"
    assert (upscale(pictures[1:], ["b"], [3], 3, 2.0)[0] != made[1]).any()
    assert (upscale(pictures[:1], ["b"], [2], 3, 2.0)[0] != made[1]).any(), "it sees the small picture"


def twice():
    """The factory of an upscaler that doubles pixels."""
    return lambda pictures, texts, seeds, steps, guidance: [each.repeat(2, 0).repeat(2, 1) for each in pictures]


def test_any_other_model_comes_by_its_factory():
    picture = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    found = load_upscaler(f"{__name__}:twice")([picture], ["a"], [0], 1, 1.0)[0]
    assert found.shape == (4, 4, 3) and (found[::2, ::2] == picture).all()


def test_what_is_no_upscaler_is_refused(tmp_path):
    make_sd().save_pretrained(tmp_path / "sd")
    with pytest.raises(ValueError, match="upscaler: got StableDiffusionPipeline in"):
        load_upscaler(str(tmp_path / "sd"))
    with pytest.raises(ValueError, match="expected a diffusers folder, or module:factory"):
        load_upscaler("stablesr")
    with pytest.raises(ValueError, match=r"upscaler: pangu\.upscaler:nothing"):
        load_upscaler("pangu.upscaler:nothing")
