"""Pixels to scaled latents and back, and how the sample's own autoencoder is trained."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

UInt8Images = np.ndarray[Any, np.dtype[np.uint8]]


def to_pixels(images: UInt8Images) -> Tensor:
    """(B, H, W, 3) uint8 to (B, 3, H, W) float32 in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float() / 127.5 - 1


def to_uint8(pixels: Tensor) -> UInt8Images:
    """(B, 3, H, W) in [-1, 1], clipped, to (B, H, W, 3) uint8, rounded to nearest."""
    scaled = (pixels.float().clamp(-1, 1) + 1) * 127.5
    array: UInt8Images = scaled.round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    return array


def encode_pixels(vae: Any, pixels: Tensor) -> Tensor:  # noqa: ANN401  (any diffusers autoencoder)
    """(B, 3, H, W) in [-1, 1] to latents (B, C, H / f, W / f), scaled to unit variance; a KL encoder gives its mean."""
    encoded = vae.encode(pixels.to(vae.device, vae.dtype))
    latents: Tensor = encoded.latents if hasattr(encoded, "latents") else encoded.latent_dist.mode()
    scaled: Tensor = (latents - _shift(vae)) * vae.config.scaling_factor
    return scaled


def decode_latents(vae: Any, latents: Tensor) -> Tensor:  # noqa: ANN401  (any diffusers autoencoder)
    """Scaled latents (B, C, h, w) to pixels (B, 3, h f, w f), about [-1, 1]."""
    raw = latents / vae.config.scaling_factor + _shift(vae)
    pixels: Tensor = vae.decode(raw.to(vae.device, vae.dtype)).sample
    return pixels


def _shift(vae: Any) -> float:  # noqa: ANN401
    """What some autoencoders take off their latents before scaling them."""
    return float(getattr(vae.config, "shift_factor", None) or 0.0)


def downsampling_factor(vae: Any) -> int:  # noqa: ANN401  (any diffusers autoencoder)
    """Pixels of one latent's side: 4 for the sample autoencoder, 8 for KL-f8."""
    channels = getattr(vae.config, "encoder_block_out_channels", None) or vae.config.block_out_channels
    return int(2 ** (len(channels) - 1))


def autoencoder_loss(vae: Any, pixels: Tensor, generator: torch.Generator) -> Tensor:  # noqa: ANN401
    """Absolute error of pixels and of their gradients, with latents kept near mean 0 and variance 1.

    Noise of a twentieth is added to the latents, so that small errors of the denoiser cost little once decoded.
    """
    latents: Tensor = vae.encode(pixels).latents
    noise = torch.randn(latents.shape, generator=generator).to(latents)
    restored: Tensor = vae.decode(latents + 0.05 * noise).sample
    error = functional.l1_loss(restored, pixels) + 0.5 * _gradient_error(restored, pixels)
    mean, spread = latents.mean((0, 2, 3)), latents.std((0, 2, 3))
    total: Tensor = error + 0.01 * (mean.square().mean() + (spread - 1).square().mean())
    return total


def _gradient_error(restored: Tensor, pixels: Tensor) -> Tensor:
    across = functional.l1_loss(restored.diff(dim=3), pixels.diff(dim=3))
    down = functional.l1_loss(restored.diff(dim=2), pixels.diff(dim=2))
    return across + down


def train_autoencoder_step(
    vae: nn.Module, optimizer: torch.optim.Optimizer, pixels: Tensor, generator: torch.Generator
) -> float:
    """One update on pixels (B, 3, H, W) in [-1, 1]; returns the loss."""
    vae.train()
    optimizer.zero_grad(set_to_none=True)
    loss = autoencoder_loss(vae, pixels, generator)
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
    optimizer.step()
    return float(loss.detach())


@torch.no_grad()
def fit_scaling_factor(vae: Any, pixels: Tensor) -> float:  # noqa: ANN401  (any diffusers autoencoder)
    """Record in the config the factor that brings the latents of these pixels to unit variance; returns it.

    Raises:
        ValueError: the latents do not vary.
    """
    vae.eval()
    spread = float(vae.encode(pixels.to(vae.device, vae.dtype)).latents.float().std())
    if not spread > 0:
        raise ValueError(f"latents: got a standard deviation of {spread}, expected more than 0")
    vae.register_to_config(scaling_factor=1 / spread)
    return 1 / spread
