"""What one step of fitting the image tower shows it: named pictures, drawn scenes, taught views, and their look."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from curation.dual_encoder_augment import (
    augment_clothing,
    augment_cut_outs,
    augment_drawn,
    augment_photos,
    augment_view,
)
from curation.dual_encoder_pictures import DrawnPictures, NamedPictures
from curation.dual_encoder_teachers import CaptionSpaceTeacher, ClassTeacher
from curation.dual_encoder_text import AttributeReadout
from curation.dual_encoder_views import HELD_OUT_STYLE, TaughtViews


@dataclass(frozen=True)
class Shares:
    """How many of each kind a step shows; a concept is one or two emoji, and views fill up to `pictures` in all."""

    pictures: int = 128
    drawn: int = 16
    concepts: int = 36
    clothing: int = 14
    coco: int = 6


FINISH_SHARES = Shares(pictures=144, drawn=24, concepts=50, clothing=8)


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


@dataclass(frozen=True)
class ImageMaterial:
    """What the image tower is fitted on."""

    drawn: DrawnPictures
    named: NamedPictures
    views: TaughtViews
    readout: AttributeReadout
    caption_space: CaptionSpaceTeacher
    clothing: ClassTeacher


@dataclass(frozen=True)
class NamedRows:
    """Rows of named pictures for one step: emoji, clothing, photographs, in this order; `one` and `two` pair up emoji.

    `one` and `two` are positions among the emoji of the same concept in two art styles.
    """

    emoji: torch.Tensor
    clothing: torch.Tensor
    photos: torch.Tensor
    one: torch.Tensor
    two: torch.Tensor

    def all(self) -> torch.Tensor:
        """Every row, (B,)."""
        return torch.cat([self.emoji, self.clothing, self.photos])


def choose_named(named: NamedPictures, language: str, rng: np.random.Generator, shares: Shares) -> NamedRows:
    """Concepts in every art style there is of them, and photographs that have a caption in the language."""
    with_captions = named.wanted[language].sum(1).numpy() > 0
    concepts = [rows for rows in named.concepts if with_captions[rows[0]]]
    chosen: list[int] = []
    if concepts:
        chosen = rng.choice(len(concepts), min(shares.concepts, len(concepts)), replace=False).tolist()
    emoji = [row for at in chosen for row in concepts[at]]
    starts = np.cumsum([0, *(len(concepts[at]) for at in chosen)])[:-1]
    pairs = [int(start) for at, start in zip(chosen, starts, strict=True) if len(concepts[at]) == 2]
    sources = np.array(named.sources)

    def some(source: str, count: int) -> torch.Tensor:
        able = np.flatnonzero((sources == source) & with_captions)
        return torch.from_numpy(rng.choice(able, min(count, len(able)), replace=False).astype(np.int64))

    return NamedRows(
        torch.tensor(emoji, dtype=torch.int64),
        some("photos_clothing", shares.clothing),
        some("photos_coco", shares.coco),
        torch.tensor(pairs, dtype=torch.int64),
        torch.tensor(pairs, dtype=torch.int64) + 1,
    )


@dataclass(frozen=True)
class StepRows:
    """What one step shows: named pictures, drawn scenes, views; in this order in its batch."""

    named: NamedRows
    drawn: torch.Tensor
    views: torch.Tensor

    def pictures(self, material: ImageMaterial) -> torch.Tensor:
        """The batch (B, 3, 96, 96) in [0, 255], each kind changed in its own way."""
        pixels, may_mirror, named = material.named.pixels, material.named.may_mirror, self.named
        kinds = ((named.clothing, augment_clothing), (named.photos, augment_photos))
        changed = [augment(pixels[rows], may_mirror[rows]) for rows, augment in kinds if len(rows)]
        if len(emoji := named.emoji):
            changed.insert(0, augment_cut_outs(pixels[emoji], may_mirror[emoji], material.named.may_recolour[emoji]))
        changed.append(augment_drawn(material.drawn.pixels[self.drawn]))
        changed.append(augment_view(material.views.pixels[self.views]))
        return torch.cat(changed)

    def look(self, material: ImageMaterial, is_damaged: torch.Tensor) -> Look:
        """What the batch's look may be told."""
        sources = [material.named.sources[index] for index in self.named.all().tolist()]
        is_emoji = torch.tensor([source.startswith("emoji") for source in sources])
        may_be_told = torch.tensor([source != HELD_OUT_STYLE for source in sources])
        drawn, views = material.drawn, material.views
        return Look(
            torch.cat([is_emoji, drawn.is_flat[self.drawn], views.is_cartoon[self.views]]),
            torch.cat([may_be_told, torch.ones(len(self.drawn), dtype=torch.bool), views.knows_look[self.views]]),
            is_damaged,
        )


def choose_rows(material: ImageMaterial, language: str, rng: np.random.Generator, shares: Shares) -> StepRows:
    """One step's rows, of every kind as many as there are or as the kind's share of a batch."""

    def some(pixels: torch.Tensor, count: int) -> torch.Tensor:
        return torch.from_numpy(rng.choice(len(pixels), min(count, len(pixels)), replace=False))

    named = choose_named(material.named, language, rng, shares)
    drawn = some(material.drawn.pixels, shares.drawn)
    return StepRows(named, drawn, some(material.views.pixels, shares.pictures - len(named.all()) - len(drawn)))
