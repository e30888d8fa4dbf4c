"""DINOv2's class token as feature vector, from a folder that the user has: the network of FD-DINOv2.

Its Frechet distance follows people's judgement of pictures more closely than Inception's. Source: arXiv 2306.04675;
there: ViT-L/14, 1024 features, pictures at 224 px.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pangu.evaluation.batching import extract_in_batches
from pangu.evaluation.features import (
    ExtractorCard,
    ImageFeatures,
    UInt8Image,
    fingerprint_weights,
    resize_antialiased,
)
from pangu.torchvision_ops import declare_missing_ops

_SIDE_PX = 224
# ImageNet's channel means and deviations, which DINOv2 was trained with.
_MEAN = np.array([0.485, 0.456, 0.406], dtype=np.float32).reshape(3, 1, 1)
_DEVIATION = np.array([0.229, 0.224, 0.225], dtype=np.float32).reshape(3, 1, 1)


class Dinov2Features:
    """The normalised class token of a DINOv2 folder in transformers' format (config.json, model.safetensors)."""

    def __init__(
        self, folder: Path, *, other_uses: tuple[str, ...] = (), device: str = "cpu", batch_size: int = 16
    ) -> None:
        """Load the folder; nothing is fetched. A missing folder or another network is a ValueError."""
        if not (folder / "config.json").is_file() or not (folder / "model.safetensors").is_file():
            raise ValueError(
                f"folder: received {folder}, accepted: one with DINOv2's config.json and model.safetensors"
            )
        declare_missing_ops()
        from transformers import AutoConfig, Dinov2Model

        config = AutoConfig.from_pretrained(folder, local_files_only=True)
        if config.model_type != "dinov2":
            raise ValueError(f"folder: received a model of type {config.model_type!r} in {folder}, accepted: 'dinov2'")
        network: Any = Dinov2Model.from_pretrained(folder, local_files_only=True, use_safetensors=True)
        self._network = network.to(device).eval().requires_grad_(False)
        self._device, self._batch_size = device, batch_size
        self._card = ExtractorCard(
            name=f"dinov2-{config.hidden_size}",
            fingerprint=fingerprint_weights(self._network.state_dict()),
            num_dims=config.hidden_size,
            resize_mode=f"bicubic-antialias-{_SIDE_PX}",
            other_uses=other_uses,
        )

    @property
    def card(self) -> ExtractorCard:
        """What stands beside its numbers."""
        return self._card

    def extract(self, images: Sequence[UInt8Image]) -> ImageFeatures:
        """Return features (N, D) of `images`, in their order."""
        return extract_in_batches(
            images,
            card=self._card,
            prepare=_normalise,
            forward=self._forward,
            batch_size=self._batch_size,
            device=self._device,
        )

    def _forward(self, pixels: Tensor) -> tuple[Tensor, None]:
        """Return the class tokens (B, D) of pixels (B, 3, 224, 224)."""
        with torch.inference_mode():
            tokens: Tensor = self._network(pixel_values=pixels).pooler_output
        return tokens, None


def _normalise(image: UInt8Image) -> NDArray[np.float32]:
    """Return (3, 224, 224) float32 with ImageNet's mean and deviation."""
    pixels: NDArray[np.float32] = (resize_antialiased(image, _SIDE_PX) / 255.0 - _MEAN) / _DEVIATION
    return pixels
