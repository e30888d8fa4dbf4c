"""Trains a ControlNet beside a frozen expert pair: the loss of `train_step` with what the ControlNet adds to the U-Net.

Source: arXiv 2302.05543; half of the prompts are left out, so that the condition image alone must do.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from pangu.bucket_conditioning import added_vector
from pangu.denoiser import Conditioning, PredictionType
from pangu.noise_schedule import NoiseSchedule
from pangu.text_encoder import TextFeatures
from pangu.time_range import Role, TimeRange, TimeSplit
from pangu.told_unet import control_residuals
from pangu.train_step import TrainSettings, draw_noise, drop_captions, learning_rate_at, training_target


@dataclass(frozen=True)
class ControlBatch:
    """latents: (B, C, h, w). conditions: (B, 3, H, W) in [0, 1], at the pixels' size."""

    latents: Tensor
    conditioning: Conditioning
    conditions: Tensor


class ControlBatchSource(Protocol):
    """Random access to batches by step."""

    def batch(self, step: int) -> ControlBatch:
        """The batch of a step, the first being 0."""
        ...


@dataclass(frozen=True)
class FrozenPair:
    """What the ControlNet stands beside. experts: U-Nets by role. null: features of the empty text."""

    experts: Mapping[Role, Any]
    split: TimeSplit
    schedule: NoiseSchedule
    prediction_type: PredictionType
    null: TextFeatures


def predict_with_control(
    unet: Any,  # noqa: ANN401  (a diffusers U-Net)
    controlnet: Any,  # noqa: ANN401  (a diffusers ControlNet)
    x_t: Tensor,
    t: Tensor,
    conditioning: Conditioning,
    conditions: Tensor,
) -> Tensor:
    """The U-Net's raw output with the ControlNet's residuals added. t: (B,)."""
    told = {
        "encoder_hidden_states": conditioning.tokens,
        "class_labels": added_vector(conditioning.pooled, conditioning.bucket),
    }
    residuals = control_residuals([controlnet], [1.0], [conditions], x_t, t, told)
    output: Tensor = unet(x_t, t, return_dict=False, **told, **residuals)[0]
    return output


def train_controlnet(
    controlnet: Any,  # noqa: ANN401  (a diffusers ControlNet)
    pair: FrozenPair,
    batches: ControlBatchSource,
    settings: TrainSettings,
    on_step: Callable[[int, float], None] | None = None,
) -> list[float]:
    """Train in place; returns the losses. Rows of both experts' ranges share a batch, each under its own expert."""
    for unet in pair.experts.values():
        unet.eval().requires_grad_(False)
    optimizer = torch.optim.AdamW(
        controlnet.parameters(), settings.learning_rate, (0.9, settings.beta2), weight_decay=settings.weight_decay
    )
    controlnet.train()
    losses: list[float] = []
    for step in range(settings.steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate_at(settings, step)
        optimizer.zero_grad(set_to_none=True)
        loss = _control_loss(controlnet, pair, batches.batch(step), settings, step)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(controlnet.parameters(), settings.max_gradient_norm)
        optimizer.step()
        losses.append(float(loss.detach()))
        if on_step is not None:
            on_step(step + 1, losses[-1])
    controlnet.eval()
    return losses


def _control_loss(
    controlnet: Any,  # noqa: ANN401
    pair: FrozenPair,
    batch: ControlBatch,
    settings: TrainSettings,
    step: int,
) -> Tensor:
    whole = TimeRange(start=0, stop=pair.split.num_timesteps)
    draw = draw_noise(settings, step, tuple(batch.latents.shape), whole)
    told = drop_captions(batch.conditioning, draw.dropped, pair.null)
    x_t = pair.schedule.add_noise(batch.latents, draw.noise, draw.t)
    target = training_target(batch.latents, draw.noise, draw.t, pair.prediction_type, pair.schedule)
    total = torch.zeros(())
    dtype = getattr(torch, settings.autocast) if settings.autocast else torch.float32
    for role, unet in pair.experts.items():
        time_range = pair.split.range_of(role)
        rows = torch.nonzero((draw.t >= time_range.start) & (draw.t < time_range.stop)).flatten()
        if not len(rows):
            continue
        with torch.autocast(x_t.device.type, dtype=dtype, enabled=settings.autocast is not None):
            output = predict_with_control(
                unet, controlnet, x_t[rows], draw.t[rows], told.rows(rows), batch.conditions[rows]
            )
        total = total + (output.float() - target[rows]).square().mean((1, 2, 3)).sum()
    return total / len(x_t)
