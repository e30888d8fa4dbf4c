"""The signature everything meets at: `denoise(x_t, t, conditioning) -> x0`.

Guidance, the expert relay and later fusions are wrappers with this same signature.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import torch
from torch import Tensor, nn

from pangu.bucket_conditioning import added_vector
from pangu.noise_schedule import NoiseSchedule


@dataclass(frozen=True)
class Conditioning:
    """What a denoiser is told, one row an image.

    tokens: (B, L, D) text features. pooled: (B, P) text vector. bucket: (B,) int64 row of the bucket table.
    """

    tokens: Tensor
    pooled: Tensor
    bucket: Tensor

    def __len__(self) -> int:
        """Number of rows B."""
        return len(self.bucket)

    def rows(self, index: Tensor | slice) -> "Conditioning":
        """The rows at `index`."""
        return Conditioning(self.tokens[index], self.pooled[index], self.bucket[index])

    def to(self, device: torch.device, dtype: torch.dtype | None = None) -> "Conditioning":
        """The same on another device, its features in another type."""
        tokens, pooled = self.tokens.to(device, dtype), self.pooled.to(device, dtype)
        return Conditioning(tokens, pooled, self.bucket.to(device))


def concatenate(parts: Sequence[Conditioning]) -> Conditioning:
    """Rows of all parts, in order."""
    return Conditioning(
        torch.cat([part.tokens for part in parts]),
        torch.cat([part.pooled for part in parts]),
        torch.cat([part.bucket for part in parts]),
    )


class Denoiser(Protocol):
    """Predicts the clean latents."""

    def __call__(self, x_t: Tensor, t: float, conditioning: Conditioning) -> Tensor:
        """x_t: (B, C, h, w) at training timestep t, as a rule a whole one; returns x0, same shape."""
        ...


class PredictionType(StrEnum):
    """What a network's output means; the names are those of diffusers."""

    EPSILON = "epsilon"
    V = "v_prediction"
    X0 = "sample"


def to_x0(output: Tensor, x_t: Tensor, t: Tensor | float, kind: PredictionType, schedule: NoiseSchedule) -> Tensor:
    """x0 from a network's output. With a = sqrt(abar), s = sqrt(1 - abar): (x_t - s eps) / a, or a x_t - s v."""
    signal, spread = schedule.signal_and_noise_rates(t, x_t)
    if kind is PredictionType.EPSILON:
        return (x_t - spread * output) / signal
    if kind is PredictionType.V:
        return signal * x_t - spread * output
    return output


def from_x0(x0: Tensor, x_t: Tensor, t: Tensor | float, kind: PredictionType, schedule: NoiseSchedule) -> Tensor:
    """The network output that says x0: (x_t - a x0) / s for epsilon, (a x_t - x0) / s for v."""
    signal, spread = schedule.signal_and_noise_rates(t, x_t)
    if kind is PredictionType.EPSILON:
        return (x_t - signal * x0) / spread
    if kind is PredictionType.V:
        return (signal * x_t - x0) / spread
    return x0


def run_unet(unet: nn.Module, x_t: Tensor, t: Tensor | float, conditioning: Conditioning) -> Tensor:
    """The raw output of a UNet2DConditionModel with its added vector as class labels. t: a number or (B,)."""
    output: Tensor = unet(
        x_t,
        torch.as_tensor(t, device=x_t.device),
        encoder_hidden_states=conditioning.tokens,
        class_labels=added_vector(conditioning.pooled, conditioning.bucket),
        return_dict=False,
    )[0]
    return output


class UNetDenoiser:
    """A UNet2DConditionModel seen as a denoiser.

    num_rows counts the rows evaluated, so that a test can see what a skipped branch saves.
    """

    def __init__(
        self, unet: nn.Module, schedule: NoiseSchedule, prediction_type: PredictionType = PredictionType.EPSILON
    ) -> None:
        """unet: module called as diffusers' UNet2DConditionModel."""
        self.unet = unet
        self.schedule = schedule
        self.prediction_type = prediction_type
        self.num_rows = 0

    def __call__(self, x_t: Tensor, t: float, conditioning: Conditioning) -> Tensor:
        """See `Denoiser`."""
        self.num_rows += len(x_t)
        dtype = next(self.unet.parameters()).dtype
        output = run_unet(self.unet, x_t.to(dtype), t, conditioning.to(x_t.device, dtype))
        return to_x0(output.to(x_t.dtype), x_t, t, self.prediction_type, self.schedule)
