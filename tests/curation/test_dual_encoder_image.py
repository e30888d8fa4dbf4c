from types import SimpleNamespace

import pytest
import torch
from torch.nn import functional as F

from curation import dual_encoder_image
from curation.dual_encoder import build_dual_encoder, normalised_pixels
from curation.dual_encoder_batches import FINISH_SHARES, Look, NamedRows, Shares, StepRows
from curation.dual_encoder_image import (
    AVERAGE_DECAY,
    FEATURE_DIM,
    FINISH_DECAY,
    FINISH_RATE,
    PEAK_RATE,
    Encoded,
    _finishing_losses,
    encode_with_features,
    fit_image_tower,
    image_step,
    learning_rate,
    settle_statistics,
    start_image_fit,
)


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
    shares = []
    monkeypatch.setattr(dual_encoder_image, "_batch", lambda *given: (shares.append(given[-1]), pictures, None))
    monkeypatch.setattr(dual_encoder_image, "SETTLING_BATCHES", 2)
    live = {name: value.clone() for name, value in fit.visual.state_dict().items()}
    fit.average["conv1.weight"] *= 3
    settle_statistics(fit, None, 0, FINISH_SHARES)
    assert shares == [FINISH_SHARES] * 2
    hidden = F.conv2d(normalised_pixels(pictures), fit.average["conv1.weight"], stride=2, padding=1)
    assert torch.allclose(fit.average["bn1.running_mean"], hidden.mean((0, 2, 3)), atol=0.01)
    assert torch.allclose(fit.average["bn1.running_var"], hidden.var((0, 2, 3)), rtol=0.02)
    for name, value in fit.visual.state_dict().items():
        assert torch.equal(value, live[name]), "the weights that are being fitted stay"


def test_the_learning_rate_rises_and_falls_twice():
    rates = [learning_rate(step, 1000, 400) for step in range(1400)]
    assert max(rates[:1000]) == pytest.approx(PEAK_RATE, rel=0.03) and rates[0] == PEAK_RATE / 100
    assert max(rates[1000:]) == pytest.approx(FINISH_RATE, rel=0.05) and rates[1000] == FINISH_RATE / 50
    assert rates[999] < PEAK_RATE / 1000 and rates[-1] < FINISH_RATE / 1000


@pytest.mark.parametrize("begin", [0, 4])
def test_only_the_last_steps_rank_pictures_across_each_other_also_after_a_resume(monkeypatch, begin):
    fit, seen = start_image_fit(build_dual_encoder(400).visual), []
    fit.step, settled = begin, []

    def step(fit, material, seed, *, finishing):
        seen.append((fit.step, finishing))
        fit.step += 1
        return {}

    monkeypatch.setattr(dual_encoder_image, "image_step", step)
    monkeypatch.setattr(dual_encoder_image, "settle_statistics", lambda *given: settled.append(given[-1]))
    material = SimpleNamespace(readout=torch.nn.Linear(1, 1))
    quiet = {"seed": 0, "checkpoint": lambda: None, "progress": lambda _: None}
    fit_image_tower(fit, material, steps=3, finish_steps=2, **quiet)
    assert seen == [(at, at >= 3) for at in range(begin, 5)]
    fit_image_tower(fit, material, steps=6, finish_steps=0, **quiet)
    assert settled == [FINISH_SHARES, Shares()], "statistics are those of batches like the last steps'"


@pytest.fixture
def named_step():
    """Four emoji and two photographs, every picture at its own caption: material, rows, embeddings."""
    own = torch.eye(6)
    banks = {"en": torch.eye(256)[:6], "zh": torch.eye(256)[:6]}
    named = SimpleNamespace(banks=banks, wanted={"en": own, "zh": own})
    rows = NamedRows(torch.arange(4), torch.tensor([4]), torch.tensor([5]), *torch.zeros(2, 0, dtype=torch.int64))
    step = StepRows(rows, torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.int64))
    return SimpleNamespace(named=named), step, banks["en"].clone()


def finishing(named_step, found=None, language="en"):
    material, rows, at_captions = named_step
    encoded = Encoded(at_captions if found is None else found, torch.zeros(0))
    return _finishing_losses(start_image_fit(torch.nn.Linear(1, 1)), material, rows, encoded, language)


def test_last_steps_hold_emoji_against_their_names_in_both_languages(named_step):
    told = finishing(named_step)
    named_step[0].named.banks["zh"] = named_step[0].named.banks["zh"].roll(1, 0)
    other = finishing(named_step)
    assert other["ranking"] > 100 * told["ranking"] and other["other language"] > 2 * told["other language"]


def test_last_steps_rank_emoji_and_photographs_apart(named_step):
    found = named_step[2].clone()
    found[:4] += 0.6 * found[:4].roll(1, 0)
    found[4:] *= 0.2
    assert finishing(named_step, found)["ranking"] < 1, (
        "an emoji's cosine of 0.6 is not held against a photograph's 0.2"
    )
    found[4:] += 3 * found[4:].roll(1, 0)
    assert finishing(named_step, found)["ranking"] > 3, "a photograph's is"


@pytest.mark.parametrize(("is_last", "decay"), [(False, AVERAGE_DECAY), (True, FINISH_DECAY)])
def test_the_average_forgets_faster_in_the_last_steps(monkeypatch, is_last, decay):
    torch.manual_seed(0)
    fit = start_image_fit(build_dual_encoder(400).visual)
    fit.step = 10**6
    rows = SimpleNamespace(look=lambda *_: SimpleNamespace(loss=lambda read_out, found: found.mean()))
    monkeypatch.setattr(dual_encoder_image, "_batch", lambda *_: (rows, torch.rand(4, 3, 96, 96) * 255, None))
    for name in ("_losses", "_finishing_losses"):
        monkeypatch.setattr(dual_encoder_image, name, lambda *_: {})
    before = fit.average["conv1.weight"].clone()
    image_step(fit, None, 0, finishing=is_last)
    assert not torch.equal(before, fit.visual.conv1.weight)
    assert torch.allclose(
        fit.average["conv1.weight"], before.lerp(fit.visual.conv1.weight.detach(), 1 - decay), atol=1e-7
    )
