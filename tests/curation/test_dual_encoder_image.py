import pytest
import torch
from torch.nn import functional as F

from curation import dual_encoder_image
from curation.dual_encoder import build_dual_encoder, normalised_pixels
from curation.dual_encoder_batches import Look
from curation.dual_encoder_image import FEATURE_DIM, encode_with_features, settle_statistics, start_image_fit


@pytest.fixture(scope="module")
def visual():
    torch.manual_seed(0)
    return build_dual_encoder(400).visual.eval()


@torch.no_grad()
def test_encoding_with_the_last_map_is_the_towers_own(visual):
    pictures = torch.rand(3, 3, 96, 96) * 255
    encoded = encode_with_features(visual, pictures)
    assert encoded.found.shape == (3, 256) and encoded.features.shape == (3, FEATURE_DIM)
    own = F.normalize(visual(normalised_pixels(pictures)), dim=-1)
    assert torch.allclose(encoded.found, own, atol=0.02), "bfloat16 against float32"


def test_the_art_style_that_is_held_out_teaches_no_look():
    torch.manual_seed(0)
    read_out, found = torch.nn.Linear(256, 2), F.normalize(torch.randn(4, 256), dim=-1)
    is_damaged = torch.tensor([False, True, False, False])
    knows_look = torch.tensor([True, True, False, True])

    def loss(is_cartoon):
        return Look(torch.tensor(is_cartoon), knows_look, is_damaged).loss(read_out, found).item()

    told = loss([True, False, True, False])
    assert loss([True, False, False, False]) == told, "what picture 2 is called changes nothing"
    assert loss([False, False, True, False]) != told
    worse = Look(torch.tensor([True, False, True, False]), knows_look, ~is_damaged).loss(read_out, found).item()
    assert worse != told, "its damage is still told"


def test_settled_statistics_are_those_of_the_averaged_weights(monkeypatch):
    torch.manual_seed(0)
    fit = start_image_fit(build_dual_encoder(400).visual)
    pictures = torch.rand(8, 3, 96, 96) * 255
    monkeypatch.setattr(dual_encoder_image, "_batch", lambda *_: (None, pictures, None))
    monkeypatch.setattr(dual_encoder_image, "SETTLING_BATCHES", 2)
    live = {name: value.clone() for name, value in fit.visual.state_dict().items()}
    fit.average["conv1.weight"] *= 3
    settle_statistics(fit, None, seed=0)
    hidden = F.conv2d(normalised_pixels(pictures), fit.average["conv1.weight"], stride=2, padding=1)
    assert torch.allclose(fit.average["bn1.running_mean"], hidden.mean((0, 2, 3)), atol=0.01)
    assert torch.allclose(fit.average["bn1.running_var"], hidden.var((0, 2, 3)), rtol=0.02)
    for name, value in fit.visual.state_dict().items():
        assert torch.equal(value, live[name]), "the weights that are being fitted stay"
