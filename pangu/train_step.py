"""The training loss of one expert: by default unweighted epsilon MSE, in float32, on timesteps of its own range.

Source: released PanGu-Draw code (schedule and loss); arXiv 2303.09556 for the optional min-SNR weights.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from pangu.batches import TrainBatch
from pangu.denoiser import Conditioning, PredictionType, run_unet
from pangu.noise_schedule import NoiseSchedule
from pangu.text_encoder import TextFeatures
from pangu.time_range import TimeRange


class TrainSettings(BaseModel):
    """How an expert is trained.

    min_snr_gamma: None for the plain loss; else each row weighs as min(SNR, gamma) would on its x0 error.
    autocast: None for float32. decay_steps: the rate falls along a cosine to a tenth over this many steps after the
    warm-up; None keeps it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: int = Field(default=1000, ge=0)
    learning_rate: float = Field(default=1e-4, gt=0)
    warmup_steps: int = Field(default=100, ge=0)
    decay_steps: int | None = Field(default=None, ge=1)
    weight_decay: float = Field(default=0.01, ge=0)
    beta2: float = Field(default=0.999, gt=0, lt=1)
    max_gradient_norm: float = Field(default=1.0, gt=0)
    ema_decay: float = Field(default=0.999, ge=0, lt=1)
    caption_drop: float = Field(default=0.1, ge=0, le=1)
    min_snr_gamma: float | None = Field(default=None, gt=0)
    autocast: Literal["bfloat16", "float16"] | None = None
    gradient_checkpointing: bool = False
    checkpoint_every: int | None = Field(default=None, ge=1)
    keep_checkpoints: int = Field(default=2, ge=1)
    seed: int = Field(default=0, ge=0)


@dataclass(frozen=True)
class Draw:
    """The random part of one global batch. t: (B,) int64; noise: (B, C, h, w); dropped: (B,) bool, caption left out."""

    t: Tensor
    noise: Tensor
    dropped: Tensor


def draw_noise(settings: TrainSettings, step: int, shape: tuple[int, ...], time_range: TimeRange) -> Draw:
    """Timesteps, noise and dropped captions of a global batch, by (seed, step) alone, so workers agree on the whole.

    Timesteps are stratified over the range: row i falls in the i-th of B equal parts, in random order. shape: (B, C, h,
    w) of the global batch.

    Raises:
        ValueError: the range is empty.
    """
    if not len(time_range):
        raise ValueError(f"time_range: got {time_range}, expected at least one timestep")
    seed = int(np.random.SeedSequence([settings.seed, step]).generate_state(1, np.uint64)[0] >> np.uint64(1))
    generator = torch.Generator().manual_seed(seed)
    rows = shape[0]
    place = (torch.randperm(rows, generator=generator) + torch.rand(rows, generator=generator).double()) / rows
    t = time_range.start + (place * len(time_range)).long().clamp(max=len(time_range) - 1)
    noise = torch.randn(shape, generator=generator)
    return Draw(t, noise, torch.rand(rows, generator=generator) < settings.caption_drop)


def drop_captions(conditioning: Conditioning, dropped: Tensor, null: TextFeatures) -> Conditioning:
    """The conditioning with the empty text's features (one row) where dropped (B,) is true; buckets stay."""
    tokens = torch.where(dropped[:, None, None], null.tokens.to(conditioning.tokens), conditioning.tokens)
    pooled = torch.where(dropped[:, None], null.pooled.to(conditioning.pooled), conditioning.pooled)
    return Conditioning(tokens, pooled, conditioning.bucket)


def loss_weights(schedule: NoiseSchedule, t: Tensor, kind: PredictionType, gamma: float | None) -> Tensor:
    """Weight of each row's loss, (B,) float32: 1, or the min-SNR weight, which is min(SNR, gamma) on the x0 error."""
    if gamma is None:
        return torch.ones(len(t))
    snr = schedule.log_snr(t).exp()
    x0_error_per_loss = {
        PredictionType.EPSILON: 1 / snr,
        PredictionType.V: 1 / (1 + snr),
        PredictionType.X0: 1 + 0 * snr,
    }
    return (snr.clamp(max=gamma) * x0_error_per_loss[kind]).float()


def training_target(latents: Tensor, noise: Tensor, t: Tensor, kind: PredictionType, schedule: NoiseSchedule) -> Tensor:
    """What the network should say: noise, a noise - s x0, or x0, with a = sqrt(abar) and s = sqrt(1 - abar)."""
    if kind is PredictionType.EPSILON:
        return noise
    if kind is PredictionType.X0:
        return latents
    signal, spread = schedule.signal_and_noise_rates(t, latents)
    return signal * noise - spread * latents


@dataclass(frozen=True)
class LossTerms:
    """What the loss needs beside the batch. null: features of the empty text, one row."""

    schedule: NoiseSchedule
    prediction_type: PredictionType
    null: TextFeatures
    settings: TrainSettings


def diffusion_loss(unet: nn.Module, batch: TrainBatch, draw: Draw, terms: LossTerms) -> Tensor:
    """This worker's share of the global mean: the sum of its rows' losses over the rows of the global batch.

    Shares of all workers add up to the loss of the same global batch on one worker.
    """
    settings, schedule, kind = terms.settings, terms.schedule, terms.prediction_type
    device = next(unet.parameters()).device
    rows = slice(batch.first_row, batch.first_row + len(batch.latents))
    t, noise, latents = draw.t[rows], draw.noise[rows].to(device), batch.latents.to(device)
    x_t = schedule.add_noise(latents, noise, t)
    conditioning = drop_captions(batch.conditioning, draw.dropped[rows], terms.null).to(device, torch.float32)
    dtype = getattr(torch, settings.autocast) if settings.autocast else torch.float32
    with torch.autocast(device.type, dtype=dtype, enabled=settings.autocast is not None):
        output = run_unet(unet, x_t, t, conditioning)
    error = (output.float() - training_target(latents, noise, t, kind, schedule)).square().mean((1, 2, 3))
    weights = batch.weights.to(device) * loss_weights(schedule, t, kind, settings.min_snr_gamma).to(device)
    return (weights * error).sum() / batch.num_global


def learning_rate_at(settings: TrainSettings, step: int) -> float:
    """Linear warm-up, then constant or a cosine down to a tenth."""
    if step < settings.warmup_steps:
        return settings.learning_rate * (step + 1) / settings.warmup_steps
    if settings.decay_steps is None:
        return settings.learning_rate
    progress = min((step - settings.warmup_steps) / settings.decay_steps, 1.0)
    return settings.learning_rate * float(0.55 + 0.45 * np.cos(np.pi * progress))
