"""The interface of a feature network: images in, one named vector an image out.

A metric is only as good as the network under it, so an extractor carries what must stand beside every number: its
name, a fingerprint of its weights, how it resizes, and what else its weights were used for.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

UInt8Image = NDArray[np.uint8]
Float32Array = NDArray[np.float32]


@dataclass(frozen=True)
class ExtractorCard:
    """What is recorded beside every number that a feature network gave.

    name: what a person calls it. fingerprint: sha256 over its weights or its own id, 12 hex digits or more.
    resize_mode: how an image of another size reaches the network. other_uses: what else this very model did to these
    images ("filtered the training data"); empty for an independent judge. published: whether its FID is the FID of
    papers.
    """

    name: str
    fingerprint: str
    num_dims: int
    resize_mode: str
    other_uses: tuple[str, ...] = ()
    published: bool = False

    @property
    def label(self) -> str:
        """One string for the `extractor` column: name@fingerprint (resize mode)."""
        return f"{self.name}@{self.fingerprint[:12]} ({self.resize_mode})"


@dataclass(frozen=True)
class ImageFeatures:
    """The features of N images. features: (N, D) float32. logits: (N, C) float32, or None without a classifier."""

    card: ExtractorCard
    features: Float32Array
    logits: Float32Array | None = None

    def __post_init__(self) -> None:
        """Refuse features that do not fit their card."""
        if self.features.ndim != 2 or self.features.shape[1] != self.card.num_dims:
            raise ValueError(f"features: received shape {self.features.shape}, accepted: (N, {self.card.num_dims})")
        if not np.isfinite(self.features).all():
            raise ValueError("features: received a NaN or an infinity, accepted: finite values")
        if self.logits is not None and (self.logits.ndim != 2 or len(self.logits) != len(self.features)):
            raise ValueError(f"logits: received shape {self.logits.shape}, accepted: ({len(self.features)}, C)")

    def __len__(self) -> int:
        """The number of images."""
        return len(self.features)

    def select(self, chosen: NDArray[np.bool_]) -> "ImageFeatures":
        """Return the images where `chosen` (N,) is true."""
        logits = None if self.logits is None else self.logits[chosen]
        return ImageFeatures(self.card, self.features[chosen], logits)


def concatenate_features(parts: Sequence[ImageFeatures]) -> ImageFeatures:
    """Return the features of all parts in their order; parts of different networks are a ValueError."""
    if not parts:
        raise ValueError("parts: received none, accepted: 1 or more")
    cards = {part.card for part in parts}
    if len(cards) != 1:
        raise ValueError(f"parts: received {sorted(card.label for card in cards)}, accepted: one network")
    logits = [part.logits for part in parts if part.logits is not None]
    if logits and len(logits) != len(parts):
        raise ValueError("parts: received some with logits and some without, accepted: all or none")
    features = np.concatenate([part.features for part in parts])
    return ImageFeatures(cards.pop(), features, np.concatenate(logits) if logits else None)


class FeatureExtractor(Protocol):
    """A feature network. `extract` takes images (H, W, 3) uint8 sRGB of any sizes."""

    @property
    def card(self) -> ExtractorCard:
        """What stands beside its numbers."""
        ...

    def extract(self, images: Sequence[UInt8Image]) -> ImageFeatures:
        """Return the features of `images`, in their order."""
        ...


class CallableFeatures:
    """Features of a model that somebody else owns: an embedder handed over by a job.

    `other_uses` has no default on purpose: whoever hands over a model must say whether it chose, filtered or rewarded
    the very images that it now judges; an empty tuple says that it did not.
    """

    def __init__(
        self,
        embed: Callable[[Sequence[UInt8Image]], NDArray[Any]],
        *,
        name: str,
        fingerprint: str,
        num_dims: int,
        resize_mode: str,
        other_uses: tuple[str, ...],
        logits: Callable[[NDArray[Any]], NDArray[Any]] | None = None,
    ) -> None:
        """Wrap `embed`: images to (N, num_dims); `logits`: those features to (N, C) class logits."""
        self._embed = embed
        self._logits = logits
        self._card = ExtractorCard(name, fingerprint, num_dims, resize_mode, other_uses)

    @property
    def card(self) -> ExtractorCard:
        """What stands beside its numbers."""
        return self._card

    def extract(self, images: Sequence[UInt8Image]) -> ImageFeatures:
        """Return the features of `images`, in their order."""
        check_images(images)
        features = np.asarray(self._embed(images), dtype=np.float32)
        logits = None if self._logits is None else np.asarray(self._logits(features), dtype=np.float32)
        return ImageFeatures(self._card, features, logits)


def check_images(images: Sequence[UInt8Image]) -> None:
    """Refuse anything but (H, W, 3) uint8 arrays."""
    for position, image in enumerate(images):
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise ValueError(
                f"images[{position}]: received shape {image.shape} of {image.dtype}, accepted: (H, W, 3) of uint8"
            )


def resize_antialiased(image: UInt8Image, side_px: int) -> Float32Array:
    """Return (3, side, side) float32 in [0, 255]: PIL's bicubic with antialiasing, in float, one channel at a time.

    Rounding to bytes after a resize, or leaving the antialias out, moves an FID by more than most models differ.
    Source: arXiv 2104.11222.
    """
    planes = [
        np.asarray(
            Image.fromarray(image[:, :, channel].astype(np.float32)).resize(
                (side_px, side_px), Image.Resampling.BICUBIC
            )
        )
        for channel in range(3)
    ]
    return np.stack(planes).astype(np.float32)


def fingerprint_weights(weights: Mapping[str, torch.Tensor]) -> str:
    """Return the sha256 over names, types, shapes and bytes of the weights, in the order of their names."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        tensor = weights[name].detach().cpu().contiguous()
        digest.update(f"{name}:{tensor.dtype}:{tuple(tensor.shape)};".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b"")
    return digest.hexdigest()
