"""A super-resolution model as the second pass over finished small pictures: what a hand-off is compared with.

`load_upscaler` takes a folder of diffusers' `StableDiffusionUpscalePipeline` (the x4 upscaler and its kin), or
`module:factory` for a model that diffusers has no class for, such as StableSR: a function without arguments that returns
an `Upscale`.
"""

import importlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import torch

from pangu.autoencoder import UInt8Images
from pangu.torchvision_ops import declare_missing_ops

KIND = "StableDiffusionUpscalePipeline"


class Upscale(Protocol):
    """Makes pictures larger."""

    def __call__(
        self, pictures: Sequence[UInt8Images], texts: Sequence[str], seeds: Sequence[int], steps: int, guidance: float
    ) -> list[UInt8Images]:
        """Larger pictures (H, W, 3) uint8 of pictures, one text and one seed each."""
        ...


class DiffusersUpscaler:
    """diffusers' own upscaling pipeline, as it stands; only its noise is drawn from the pictures' seeds."""

    def __init__(self, folder: Path, device: str | torch.device = "cpu") -> None:
        """Load it. ValueError if the folder holds another pipeline."""
        declare_missing_ops()
        from diffusers import DiffusionPipeline

        kind = json.loads((folder / "model_index.json").read_text(encoding="utf-8")).get("_class_name")
        if kind != KIND:
            raise ValueError(f"upscaler: got {kind} in {folder}, expected {KIND}, or module:factory")
        self.pipeline: Any = DiffusionPipeline.from_pretrained(str(folder), use_safetensors=True).to(device)
        self.pipeline.set_progress_bar_config(disable=True)

    def __call__(
        self, pictures: Sequence[UInt8Images], texts: Sequence[str], seeds: Sequence[int], steps: int, guidance: float
    ) -> list[UInt8Images]:
        """See `Upscale`; one picture at a time, so that none depends on its company."""
        from PIL import Image

        made = []
        for picture, text, seed in zip(pictures, texts, seeds, strict=True):
            found = self.pipeline(
                prompt=text,
                image=Image.fromarray(picture),
                num_inference_steps=steps,
                guidance_scale=guidance,
                generator=torch.Generator("cpu").manual_seed(seed),
                output_type="np",
            ).images[0]
            made.append((found * 255).round().astype("uint8"))
        return made


def load_upscaler(said: str, device: str | torch.device = "cpu") -> Upscale:
    """The model of a folder, or whatever `module:factory` returns.

    Raises:
        ValueError: there is neither.
    """
    if (Path(said) / "model_index.json").is_file():
        return DiffusersUpscaler(Path(said), device)
    module, colon, factory = said.partition(":")
    if not colon:
        raise ValueError(f"upscaler: got {said!r}, expected a diffusers folder, or module:factory")
    try:
        found: Upscale = getattr(importlib.import_module(module), factory)()
    except (ImportError, AttributeError) as error:
        raise ValueError(f"upscaler: {said}: {error}") from error
    return found
