"""The frozen image tower of a CLIP folder: pictures in, features for a denoiser that is told a picture instead of words."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from pangu.autoencoder import UInt8Images
from pangu.text_encoder import TextFeatures
from pangu.torchvision_ops import declare_missing_ops

declare_missing_ops()

import open_clip  # noqa: E402  (torchvision's operators must exist first)


class ClipImageEncoder:
    """Image embeddings as one token and as the pooled vector, scaled to a root mean square of 1.

    A picture runs by itself, so its features never depend on its neighbours.
    """

    def __init__(self, folder: Path) -> None:
        """folder: open_clip's own format (`open_clip_config.json`, weights as safetensors)."""
        model, self._preprocess = open_clip.create_model_from_pretrained(f"local-dir:{folder}", device="cpu")
        self._model: Any = model.eval().requires_grad_(False)

    @torch.no_grad()
    def encode(self, images: Sequence[UInt8Images]) -> TextFeatures:
        """Features of pictures (H, W, 3) uint8 of any sizes. tokens: (N, 1, P); pooled: (N, P); float32."""
        rows = [self._model.encode_image(self._preprocess(Image.fromarray(image))[None]) for image in images]
        pooled = torch.cat(rows).float()
        pooled = pooled / pooled.square().mean(1, keepdim=True).sqrt()
        return TextFeatures(pooled[:, None], pooled)

    @staticmethod
    def null(width: int) -> TextFeatures:
        """The unconditional input of this width: zeros, as Stable Diffusion's image variation has it."""
        return TextFeatures(torch.zeros(1, 1, width), torch.zeros(1, width))
