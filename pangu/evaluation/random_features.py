"""An untrained network with fixed weights: the judge of a sample that has no other network to be judged by.

It has seen no picture at all, so it is partial to none, and it needs no file. What it measures is low-level: colour,
contrast, texture, edges and their layout on a 2 x 2 grid. It cannot tell a cat from a dog, and its numbers compare
only with each other. Untrained embeddings for comparing image sets: arXiv 2002.09797, sec. 4.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from pangu.evaluation.batching import extract_in_batches
from pangu.evaluation.features import (
    ExtractorCard,
    ImageFeatures,
    UInt8Image,
    fingerprint_weights,
    resize_antialiased,
)

_SIDE_PX = 64
_WIDTHS = (24, 48, 64)
_GRID = 2


class RandomFeatures:
    """256 features of a three-layer convolution network whose weights are drawn once from `seed`."""

    def __init__(self, *, seed: int = 0, batch_size: int = 64) -> None:
        """Draw the weights; equal seeds give equal fingerprints."""
        rng = np.random.Generator(np.random.PCG64(seed))
        inputs = 3
        self._kernels: list[Tensor] = []
        for width in _WIDTHS:
            drawn = rng.standard_normal((width, inputs, 4, 4)) * (2.0 / (inputs * 16)) ** 0.5
            self._kernels.append(torch.from_numpy(drawn.astype(np.float32)))
            inputs = width
        self._batch_size = batch_size
        self._card = ExtractorCard(
            name=f"untrained-conv-seed{seed}",
            fingerprint=fingerprint_weights({f"{index}.weight": kernel for index, kernel in enumerate(self._kernels)}),
            num_dims=_WIDTHS[-1] * _GRID * _GRID,
            resize_mode=f"bicubic-antialias-{_SIDE_PX}",
        )

    @property
    def card(self) -> ExtractorCard:
        """What stands beside its numbers."""
        return self._card

    def extract(self, images: Sequence[UInt8Image]) -> ImageFeatures:
        """Return features (N, 256) of `images`, in their order."""
        return extract_in_batches(
            images,
            card=self._card,
            prepare=lambda image: resize_antialiased(image, _SIDE_PX) / 127.5 - 1.0,
            forward=self._embed,
            batch_size=self._batch_size,
        )

    def _embed(self, pixels: Tensor) -> tuple[Tensor, None]:
        """Return (B, 256) features of pixels (B, 3, 64, 64) in [-1, 1]."""
        hidden = pixels
        for kernel in self._kernels:
            hidden = functional.leaky_relu(functional.conv2d(hidden, kernel, stride=2, padding=1), 0.2)
        return functional.adaptive_avg_pool2d(hidden, _GRID).flatten(1), None
