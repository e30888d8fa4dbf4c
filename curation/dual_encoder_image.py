"""Fitting the image tower to a frozen text tower, with a running average of its weights; resumable."""

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
from curation.dual_encoder_damage import damage_randomly
from curation.dual_encoder_pictures import DrawnPictures, NamedPictures, augment_drawn, augment_named
from curation.dual_encoder_text import AttributeReadout

NUM_DRAWN, NUM_EMOJI, NUM_CLOTHING, NUM_COCO = 48, 64, 10, 8


@dataclass
class ImageFit:
    """The image tower, its running average, the optimiser and how far they came.

    `look` reads from an embedding what no caption says but the heads need: is it a cartoon, is it damaged.
    """

    visual: nn.Module
    average: dict[str, torch.Tensor]
    logit_scale: nn.Parameter
    look: nn.Linear
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
        self.optimiser.load_state_dict(state["optimiser"])
        self.step, self.seconds = state["step"], state["seconds"]


def start_image_fit(visual: nn.Module) -> ImageFit:
    """An image tower about to be fitted."""
    logit_scale = nn.Parameter(torch.tensor(float(np.log(14.0))))
    look = nn.Linear(EMBED_DIM, 2)
    fitted = [*visual.parameters(), *look.parameters(), logit_scale]
    optimiser = torch.optim.AdamW(fitted, lr=2e-3, weight_decay=0.05, betas=(0.9, 0.98))
    average = {name: value.detach().clone() for name, value in visual.state_dict().items()}
    return ImageFit(visual, average, logit_scale, look, optimiser)


def _named_loss(found: torch.Tensor, bank: torch.Tensor, wanted: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """Cross-entropy over the caption bank, over the batch's own pictures, and the cosine to the captions' centre."""
    logits = scale * found @ bank.T
    towards_text = -(wanted * F.log_softmax(logits, dim=1)).sum(1).mean()
    centre = F.normalize(wanted @ bank, dim=-1)
    towards_image = F.cross_entropy(scale * centre @ found.T, torch.arange(len(found)))
    return towards_text + 0.3 * towards_image + 0.5 * (1 - (found * centre).sum(1).mean())


def _drawn_loss(
    found: torch.Tensor,
    captions: torch.Tensor,
    misses: torch.Tensor,
    scale: torch.Tensor,
) -> torch.Tensor:
    """Own caption against own near misses and the other scenes' captions, both ways, and the cosine to it."""
    labels = torch.arange(len(found))
    among_batch = scale * found @ captions.T
    own_misses = scale * torch.einsum("bd,bkd->bk", found, misses)
    everything = torch.cat([among_batch, own_misses], dim=1)
    own = torch.cat([among_batch.diagonal()[:, None], own_misses], dim=1)
    loss = F.cross_entropy(everything, labels) + F.cross_entropy(own, torch.zeros_like(labels))
    loss = loss + 0.3 * F.cross_entropy(among_batch.T, labels)
    return loss + 0.5 * (1 - (found * captions).sum(1).mean())


def _look_loss(
    look: nn.Linear, found: torch.Tensor, is_cartoon: torch.Tensor, is_damaged: torch.Tensor
) -> torch.Tensor:
    wanted = torch.stack([is_cartoon, is_damaged], dim=1).float()
    return F.binary_cross_entropy_with_logits(look(found * 16), wanted)


@dataclass(frozen=True)
class ImageMaterial:
    """What the image tower is fitted on."""

    drawn: DrawnPictures
    named: NamedPictures
    readout: AttributeReadout


def _batch_of_named(named: NamedPictures, language: str, rng: np.random.Generator) -> torch.Tensor:
    sources = np.array(named.sources)
    with_captions = named.wanted[language].sum(1).numpy() > 0
    chosen = []
    for prefix, count in (("emoji", NUM_EMOJI), ("photos_clothing", NUM_CLOTHING), ("photos_coco", NUM_COCO)):
        able = np.flatnonzero(np.char.startswith(sources, prefix) & with_captions)
        if len(able):
            chosen.append(rng.choice(able, min(count, len(able)), replace=False))
    return torch.from_numpy(np.concatenate(chosen))


def image_step(fit: ImageFit, material: ImageMaterial, seed: int) -> dict[str, float]:
    """One step; English and Chinese captions on alternate steps."""
    rng = np.random.default_rng((seed, fit.step))
    torch.manual_seed(seed * 1_000_003 + fit.step)
    language_at = fit.step % 2
    language = ("en", "zh")[language_at]
    named = _batch_of_named(material.named, language, rng)
    drawn = torch.from_numpy(rng.choice(len(material.drawn.pixels), NUM_DRAWN, replace=False))
    is_emoji = torch.tensor([material.named.sources[index].startswith("emoji") for index in named.tolist()])
    pictures = torch.cat(
        [
            augment_named(material.named.pixels[named], material.named.may_mirror[named], is_emoji),
            augment_drawn(material.drawn.pixels[drawn]),
        ]
    )
    pictures, is_damaged = damage_randomly(pictures, share=0.15)
    is_cartoon = torch.cat([is_emoji, material.drawn.is_flat[drawn]])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        raw = fit.visual(normalised_pixels(pictures).contiguous(memory_format=torch.channels_last))
    found = F.normalize(raw.float(), dim=-1)
    scale = fit.logit_scale.exp().clamp(max=60.0)
    of_named, of_drawn = found[: len(named)], found[len(named) :]
    losses = {
        "named": _named_loss(of_named, material.named.banks[language], material.named.wanted[language][named], scale),
        "drawn": _drawn_loss(
            of_drawn, material.drawn.captions[drawn, language_at], material.drawn.misses[drawn], scale
        ),
        "look": 0.4 * _look_loss(fit.look, found, is_cartoon, is_damaged),
        "attributes": material.readout.loss(of_drawn, material.drawn.targets[drawn]),
    }
    fit.optimiser.zero_grad()
    torch.autograd.backward(torch.stack(list(losses.values())).sum())
    nn.utils.clip_grad_norm_(fit.visual.parameters(), 2.0)
    fit.optimiser.step()
    _move_average(fit)
    fit.step += 1
    return {name: value.item() for name, value in losses.items()}


@torch.no_grad()
def _move_average(fit: ImageFit) -> None:
    keep = min(0.999, (1 + fit.step) / (10 + fit.step))
    for name, value in fit.visual.state_dict().items():
        if value.is_floating_point():
            fit.average[name].lerp_(value, 1 - keep)
        else:
            fit.average[name].copy_(value)


def fit_image_tower(
    fit: ImageFit,
    material: ImageMaterial,
    *,
    minutes: float,
    seed: int,
    checkpoint: Callable[[], None],
    progress: Callable[[str], None],
    checkpoint_minutes: float = 5.0,
    peak_rate: float = 2e-3,
) -> None:
    """Fit in place for `minutes` of processor time in all, those before a resume included.

    The learning rate warms up, then falls to zero as a cosine of the time used. Processor time counts the threads' own
    work, so a busy machine makes it take longer and not come out worse.
    """
    fit.visual.train()
    material.readout.requires_grad_(False)
    before, started, last_saved = fit.seconds, time.process_time(), time.process_time()
    while fit.seconds < minutes * 60:
        done = fit.seconds / (minutes * 60)
        for group in fit.optimiser.param_groups:
            group["lr"] = peak_rate * min(1.0, (fit.step + 1) / 100) * 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))
        losses = image_step(fit, material, seed)
        fit.seconds = before + time.process_time() - started
        if fit.step % 50 == 1:
            told = ", ".join(f"{name} {value:.3f}" for name, value in losses.items())
            progress(f"image step {fit.step}, {done:.0%}: {told}, scale {fit.logit_scale.exp().item():.1f}")
        if time.process_time() - last_saved > checkpoint_minutes * 60:
            checkpoint()
            fit.visual.train()
            last_saved = time.process_time()
    checkpoint()
