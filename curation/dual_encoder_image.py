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
from curation.dual_encoder_pictures import DrawnPictures, NamedPictures, augment_drawn, augment_named, augment_view
from curation.dual_encoder_text import AttributeReadout
from curation.dual_encoder_views import HELD_OUT_STYLE, TARGET_DIM, CaptionSpaceTeacher, TaughtViews

NUM_DRAWN, NUM_EMOJI, NUM_CLOTHING, NUM_COCO, NUM_VIEWS = 40, 64, 10, 8, 40
FEATURE_DIM = 512


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


@dataclass(frozen=True)
class Look:
    """Per picture (B,): is it a cartoon, may the tower be told so, is it damaged."""

    is_cartoon: torch.Tensor
    knows_look: torch.Tensor
    is_damaged: torch.Tensor

    def loss(self, look: nn.Linear, found: torch.Tensor) -> torch.Tensor:
        """Cross-entropy of both read-outs from embeddings (B, 256)."""
        wanted = torch.stack([self.is_cartoon, self.is_damaged], dim=1).float()
        counts = torch.stack([self.knows_look, torch.ones_like(self.knows_look)], dim=1).float()
        losses = F.binary_cross_entropy_with_logits(look(found * 16), wanted, reduction="none")
        return (losses * counts).sum() / counts.sum()


def _taught_loss(fit: ImageFit, material: "ImageMaterial", rows: torch.Tensor, encoded: "Encoded") -> torch.Tensor:
    """One minus the cosine to the teacher's features, and to where it puts the pictures among the captions."""
    features = F.normalize(fit.to_features(encoded.features), dim=-1)
    to_features = 1 - (features * material.views.targets[rows]).sum(1).mean()
    return 2 * to_features + 2 * material.caption_space.loss(rows, encoded.found)


@dataclass(frozen=True)
class ImageMaterial:
    """What the image tower is fitted on."""

    drawn: DrawnPictures
    named: NamedPictures
    views: TaughtViews
    readout: AttributeReadout
    caption_space: CaptionSpaceTeacher


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
    views = torch.from_numpy(rng.choice(len(material.views.pixels), NUM_VIEWS, replace=False))
    sources = [material.named.sources[index] for index in named.tolist()]
    is_emoji = torch.tensor([source.startswith("emoji") for source in sources])
    pictures = torch.cat(
        [
            augment_named(material.named.pixels[named], material.named.may_mirror[named], is_emoji),
            augment_drawn(material.drawn.pixels[drawn]),
            augment_view(material.views.pixels[views]),
        ]
    )
    pictures, is_damaged = damage_randomly(pictures, share=0.15)
    encoded = encode_with_features(fit.visual, pictures)
    of_named, of_drawn = encoded.found[: len(named)], encoded.found[len(named) : -len(views)]
    look = Look(
        torch.cat([is_emoji, material.drawn.is_flat[drawn], material.views.is_cartoon[views]]),
        torch.cat(
            [
                torch.tensor([source != HELD_OUT_STYLE for source in sources]),
                torch.ones(len(drawn), dtype=torch.bool),
                material.views.knows_look[views],
            ]
        ),
        is_damaged,
    )
    of_views = Encoded(encoded.found[-len(views) :], encoded.features[-len(views) :])
    scale = fit.logit_scale.exp().clamp(max=60.0)
    losses = {
        "named": _named_loss(of_named, material.named.banks[language], material.named.wanted[language][named], scale),
        "drawn": _drawn_loss(
            of_drawn, material.drawn.captions[drawn, language_at], material.drawn.misses[drawn], scale
        ),
        "look": look.loss(fit.look, encoded.found),
        "attributes": material.readout.loss(of_drawn, material.drawn.targets[drawn]),
        "taught": _taught_loss(fit, material, views, of_views),
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
    steps: int,
    seed: int,
    checkpoint: Callable[[], None],
    progress: Callable[[str], None],
    checkpoint_every: int = 200,
    peak_rate: float = 2e-3,
) -> None:
    """Fit in place up to `steps` in all, those before a resume included; the learning rate warms up, then falls to zero."""
    fit.visual.train()
    material.readout.requires_grad_(False)
    while fit.step < steps:
        started, done = time.process_time(), fit.step / steps
        for group in fit.optimiser.param_groups:
            group["lr"] = peak_rate * min(1.0, (fit.step + 1) / 100) * 0.5 * (1 + math.cos(math.pi * done))
        losses = image_step(fit, material, seed)
        fit.seconds += time.process_time() - started
        if fit.step % 50 == 1:
            told = ", ".join(f"{name} {value:.3f}" for name, value in losses.items())
            progress(f"image step {fit.step}, {done:.0%}: {told}, scale {fit.logit_scale.exp().item():.1f}")
        if fit.step % checkpoint_every == 0:
            checkpoint()
            fit.visual.train()
    checkpoint()
