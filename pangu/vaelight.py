"""The light autoencoder of Stable Diffusion 1.x' latent space, `vaelight-sd`: 4 channels at an eighth of the side, as ONNX.

Blurry (21 dB on photographs) and fast. Its convolutions darken the border: pictures and latents are continued by one
latent on every side and cut again, which on drawn scenes of 64 px takes 18.1 dB to 22.4. Weights: Apache-2.0,
Graphnull/VAElight, `VAEencoder.onnx` and `VAEpreview.onnx`; onnxruntime comes with the extra `provenance`.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from pangu.latent_bridge import GridSpace

SCALING_FACTOR = 0.18215
"""Raw latents to unit variance, as Stable Diffusion 1.x' own autoencoder counts them."""


class VaeLightSpace(GridSpace):
    """The latent space of Stable Diffusion 1.x by its light autoencoder."""

    channels = 4
    factor = 8

    def __init__(self, folder: Path, *, threads: int = 1) -> None:
        """folder: with the two ONNX files. threads: that onnxruntime may use."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = threads
        providers = ["CPUExecutionProvider"]

        def session(name: str) -> Any:  # noqa: ANN401  (onnxruntime has no types)
            return onnxruntime.InferenceSession(str(folder / name), options, providers)

        self._encoder, self._decoder = session("VAEencoder.onnx"), session("VAEpreview.onnx")

    def encode(self, pixels: Tensor) -> Tensor:
        """(B, 3, H, W) in [-1, 1] to latents (B, 4, H / 8, W / 8)."""
        (latents,) = self._encoder.run(["latent"], {"input": _array(_continued(pixels, self.factor))})
        return torch.from_numpy(latents[..., 1:-1, 1:-1].copy()).to(pixels) * SCALING_FACTOR

    def decode(self, latents: Tensor) -> Tensor:
        """Latents (B, 4, h, w) to pixels (B, 3, 8 h, 8 w), about [-1, 1]: the sum of four outputs of growing size."""
        outputs = self._decoder.run(None, {"latent": _array(_continued(latents / SCALING_FACTOR, 1))})
        size = ((latents.shape[2] + 2) * self.factor, (latents.shape[3] + 2) * self.factor)
        total = torch.zeros(len(latents), 3, *size)
        for output in outputs:
            total += functional.interpolate(torch.from_numpy(output), size, mode="bilinear")
        return total[..., self.factor : -self.factor, self.factor : -self.factor].to(latents)


def _continued(values: Tensor, width: int) -> Tensor:
    """(B, C, H, W) with its border repeated over `width` on every side."""
    return functional.pad(values, (width,) * 4, mode="replicate")


def _array(values: Tensor) -> Any:  # noqa: ANN401  (a numpy array of float32)
    return values.detach().float().cpu().contiguous().numpy()
