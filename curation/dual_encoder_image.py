"""Fitting the image tower to a frozen text tower, with a running average of its weights; resumable."""

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from curation.dual_encoder import EMBED_DIM, normalised_pixels
from curation.dual_encoder_batches import FINISH_SHARES, ImageMaterial, Shares, StepRows, choose_rows
from curation.dual_encoder_damage import damage_randomly
from curation.dual_encoder_losses import drawn_loss, named_loss, ranking_loss, same_concept_loss
from curation.dual_encoder_views import TARGET_DIM

FEATURE_DIM = 512
PEAK_RATE, AVERAGE_DECAY = 2e-3, 0.999
FINISH_RATE, FINISH_DECAY = 1e-3, 0.995
"""Of the last steps, which are few: the average forgets what was before them."""
RANKED_EMOJI, RANKED_PHOTOGRAPHS, OTHER_LANGUAGE = 8.0, 2.0, 0.6
"""Weights of what the last steps add: rankings among the pictures of a kind, and emoji's names in the other language."""
SETTLING_BATCHES = 40


@dataclass
class ImageFit:
    """The image tower, its running average, the optimiser and how far they came.

    `look` reads from an embedding what no caption says but the heads need: is it a cartoon, is it damaged. `to_features`
    maps the last feature map's mean to the teacher's features.
    """

    visual: nn.Module
    average: dict[str, torch.Tensor]
    logit_scale: nn.Parameter
    look: nn.Linear
    to_features: nn.Linear
    optimiser: torch.optim.Optimizer
    step: int = 0
    seconds: float = 0.0

    def state(self) -> dict[str, Any]:
        """Everything that a later process needs to go on."""
        return {
            "visual": self.visual.state_dict(),
            "average": self.average,
            "logit_scale": self.logit_scale.detach(),
            "look": self.look.state_dict(),
            "to_features": self.to_features.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "step": self.step,
            "seconds": self.seconds,
        }

    def restore(self, path: Path) -> None:
        """Go on from a saved `state`."""
        state = torch.load(path, weights_only=True)
        self.visual.load_state_dict(state["visual"])
        self.average = state["average"]
        self.logit_scale.data.copy_(state["logit_scale"])
        self.look.load_state_dict(state["look"])
        self.to_features.load_state_dict(state["to_features"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step, self.seconds = state["step"], state["seconds"]


def start_image_fit(visual: nn.Module) -> ImageFit:
    """An image tower about to be fitted."""
    logit_scale = nn.Parameter(torch.tensor(float(np.log(14.0))))
    look = nn.Linear(EMBED_DIM, 2)
    to_features = nn.Linear(FEATURE_DIM, TARGET_DIM)
    fitted = [*visual.parameters(), *look.parameters(), *to_features.parameters(), logit_scale]
    optimiser = torch.optim.AdamW(fitted, lr=2e-3, weight_decay=0.05, betas=(0.9, 0.98))
    average = {name: value.detach().clone() for name, value in visual.state_dict().items()}
    return ImageFit(visual, average, logit_scale, look, to_features, optimiser)


@dataclass(frozen=True)
class Encoded:
    """Embeddings (B, 256), normalised, and the last feature map's mean (B, 512)."""

    found: torch.Tensor
    features: torch.Tensor


def encode_with_features(visual: Any, pictures: torch.Tensor) -> Encoded:  # noqa: ANN401  (open_clip's ModifiedResNet)
    """What open_clip's ModifiedResNet computes of pictures (B, 3, 96, 96) in [0, 255], with the map before its pooling."""
    with torch.autocast("cpu", dtype=torch.bfloat16):
        hidden = visual.stem(normalised_pixels(pictures).contiguous(memory_format=torch.channels_last))
        for layer in (visual.layer1, visual.layer2, visual.layer3, visual.layer4):
            hidden = layer(hidden)
        found = visual.attnpool(hidden)
    return Encoded(F.normalize(found.float(), dim=-1), hidden.float().mean((2, 3)))


def _batch(
    material: ImageMaterial, language: str, seed: int, step: int, shares: Shares
) -> tuple[StepRows, torch.Tensor, torch.Tensor]:
    """The rows of a step, their pictures (B, 3, 96, 96) and whether each is damaged (B,): the same at every call."""
    torch.manual_seed(seed * 1_000_003 + step)
    rows = choose_rows(material, language, np.random.default_rng((seed, step)), shares)
    return rows, *damage_randomly(rows.pictures(material), share=0.12)


def image_step(fit: ImageFit, material: ImageMaterial, seed: int, *, finishing: bool = False) -> dict[str, float]:
    """One step; English and Chinese captions on alternate steps. finishing: with more emoji, and `_finishing_losses`."""
    language = ("en", "zh")[fit.step % 2]
    shares = FINISH_SHARES if finishing else Shares()
    rows, pictures, is_damaged = _batch(material, language, seed, fit.step, shares)
    encoded = encode_with_features(fit.visual, pictures)
    losses = _losses(fit, material, rows, encoded, language)
    if finishing:
        losses |= _finishing_losses(fit, material, rows, encoded, language)
    losses["look"] = rows.look(material, is_damaged).loss(fit.look, encoded.found)
    fit.optimiser.zero_grad()
    torch.autograd.backward(torch.stack(list(losses.values())).sum())
    nn.utils.clip_grad_norm_(fit.visual.parameters(), 2.0)
    fit.optimiser.step()
    _move_average(fit, FINISH_DECAY if finishing else AVERAGE_DECAY)
    fit.step += 1
    return {name: value.item() for name, value in losses.items()}


def _losses(
    fit: ImageFit, material: ImageMaterial, rows: StepRows, encoded: Encoded, language: str
) -> dict[str, torch.Tensor]:
    """Each kind of picture against what is known of it."""
    scale = fit.logit_scale.exp().clamp(max=60.0)
    named, clothing = rows.named.all(), material.clothing
    first_view = len(named) + len(rows.drawn)
    of_named, of_drawn = encoded.found[: len(named)], encoded.found[len(named) : first_view]
    of_views = encoded.found[first_view:]
    captions = material.drawn.captions[rows.drawn, ("en", "zh").index(language)]
    features = F.normalize(fit.to_features(encoded.features[first_view:]), dim=-1)
    garments = torch.cat([clothing.pair_is_known[named], clothing.is_known[rows.views]])
    classes = torch.cat([clothing.of_pairs[named], clothing.classes[rows.views]])[garments]
    of_garments = torch.cat([of_named, of_views])[garments]
    return {
        "named": named_loss(of_named, material.named.banks[language], material.named.wanted[language][named], scale),
        "styles": 0.3 * same_concept_loss(of_named[rows.named.one], of_named[rows.named.two], scale),
        "drawn": drawn_loss(of_drawn, captions, material.drawn.misses[rows.drawn], scale),
        "attributes": material.readout.loss(of_drawn, material.drawn.targets[rows.drawn]),
        "features": 2 * (1 - (features * material.views.targets[rows.views]).sum(1).mean()),
        "caption space": 2 * material.caption_space.loss(rows.views, of_views),
        "clothing": clothing.loss(classes, of_garments, language, scale),
    }


def _finishing_losses(
    fit: ImageFit, material: ImageMaterial, rows: StepRows, encoded: Encoded, language: str
) -> dict[str, torch.Tensor]:
    """Pictures ranked across each other, emoji by their names in both languages; and those names as `named_loss` has them.

    Emoji and photographs are ranked apart, since their cosines are on different scales.
    """
    named, emoji = material.named, rows.named.emoji
    photographs = torch.cat([rows.named.clothing, rows.named.photos])
    other = "zh" if language == "en" else "en"
    found = encoded.found[: len(emoji)]
    of_photographs = encoded.found[len(emoji) : len(emoji) + len(photographs)]

    def ranked(found: torch.Tensor, chosen: torch.Tensor, spoken: str) -> torch.Tensor:
        return ranking_loss(found, F.normalize(named.wanted[spoken][chosen] @ named.banks[spoken], dim=-1))

    scale = fit.logit_scale.exp().clamp(max=60.0)
    of_emoji = ranked(found, emoji, language) + ranked(found, emoji, other)
    losses = {"ranking": RANKED_EMOJI * of_emoji + RANKED_PHOTOGRAPHS * ranked(of_photographs, photographs, language)}
    if len(emoji):
        of_names = named_loss(found, named.banks[other], named.wanted[other][emoji], scale)
        losses["other language"] = OTHER_LANGUAGE * of_names
    return losses


@torch.no_grad()
def _move_average(fit: ImageFit, decay: float) -> None:
    keep = min(decay, (1 + fit.step) / (10 + fit.step))
    for name, value in fit.visual.state_dict().items():
        if value.is_floating_point():
            fit.average[name].lerp_(value, 1 - keep)
        else:
            fit.average[name].copy_(value)


@torch.no_grad()
def settle_statistics(fit: ImageFit, material: ImageMaterial, seed: int, shares: Shares) -> None:
    """Measure the averaged weights' own batch-norm statistics, on batches like those that the last steps saw.

    On other batches the statistics are not those that the weights were fitted under, and every figure falls a little.
    """
    visual = copy.deepcopy(fit.visual)
    visual.load_state_dict(fit.average)
    norms = [module for module in visual.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean over all batches
    visual.train()
    for number in range(SETTLING_BATCHES):
        encode_with_features(visual, _batch(material, "en", seed, fit.step + number, shares)[1])
    fit.average.update({name: value.clone() for name, value in visual.named_buffers() if name in fit.average})


def learning_rate(step: int, steps: int, finish_steps: int) -> float:
    """Warm-up and a cosine down to zero, twice: over `steps`, then, half as high, over `finish_steps`."""
    at, of, peak, warmup = (
        (step, steps, PEAK_RATE, 100) if step < steps else (step - steps, finish_steps, FINISH_RATE, 50)
    )
    return peak * min(1.0, (at + 1) / warmup) * 0.5 * (1 + math.cos(math.pi * at / of))


def fit_image_tower(
    fit: ImageFit,
    material: ImageMaterial,
    *,
    steps: int,
    finish_steps: int,
    seed: int,
    checkpoint: Callable[[], None],
    progress: Callable[[str], None],
    checkpoint_every: int = 200,
) -> None:
    """Fit in place up to `steps` and then `finish_steps` in all, those before a resume included; see `learning_rate`."""
    fit.visual.train()
    material.readout.requires_grad_(False)
    while fit.step < steps + finish_steps:
        started = time.process_time()
        for group in fit.optimiser.param_groups:
            group["lr"] = learning_rate(fit.step, steps, finish_steps)
        losses = image_step(fit, material, seed, finishing=fit.step >= steps)
        fit.seconds += time.process_time() - started
        if fit.step % 50 == 1:
            told = ", ".join(f"{name} {value:.3f}" for name, value in losses.items())
            spent = f"{fit.step / (steps + finish_steps):.0%}, {fit.seconds / 60:.1f} core-minutes"
            progress(f"image step {fit.step}, {spent}: {told}, scale {fit.logit_scale.exp().item():.1f}")
        if fit.step % checkpoint_every == 0:
            checkpoint()
            fit.visual.train()
    settle_statistics(fit, material, seed, FINISH_SHARES if finish_steps else Shares())
    checkpoint()
