"""From pictures to a pipeline: the sample autoencoder, one shared denoiser, and the two experts branched from it.

Source: branching from a shared model is eDiff-I's (arXiv 2211.01324); the experts are PanGu-Draw's (arXiv 2312.16486).
"""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from pangu.autoencoder import UInt8Images, fit_scaling_factor, to_pixels, train_autoencoder_step
from pangu.batches import BatchSource
from pangu.bucket_conditioning import BucketSize
from pangu.checkpoint import ExpertIdentity
from pangu.denoiser import PredictionType
from pangu.networks import build_sample_autoencoder
from pangu.noise_schedule import NoiseSchedule
from pangu.text_encoder import TextEncoder
from pangu.time_range import Role, TimeSplit
from pangu.train_step import TrainSettings
from pangu.trainer import StepReport, TrainResult, TrainTask, train


def train_sample_autoencoder(
    draw: Callable[[int], UInt8Images],
    *,
    steps: int,
    learning_rate: float = 2e-3,
    seed: int = 0,
    on_step: Callable[[int, float], None] | None = None,
) -> Any:  # noqa: ANN401  (diffusers' AutoencoderTiny)
    """An autoencoder trained on pictures drawn as it goes, its latents' scale recorded.

    draw: step number to (B, H, W, 3) uint8; sides divide by 4 and may change from step to step (crops of 32 px train it
    four times as fast as whole pictures of 64 px). on_step: told each
    step's number from 1 and loss.
    """
    torch.manual_seed(seed)
    vae = build_sample_autoencoder()
    optimizer = torch.optim.AdamW(vae.parameters(), learning_rate, (0.9, 0.98), weight_decay=0.0)
    generator = torch.Generator().manual_seed(seed)
    for step in range(steps):
        rate = learning_rate * min(1.0, (step + 1) / 50) * (0.525 + 0.475 * np.cos(np.pi * step / steps))
        for group in optimizer.param_groups:
            group["lr"] = rate
        loss = train_autoencoder_step(vae, optimizer, to_pixels(draw(step)), generator)
        if on_step is not None:
            on_step(step + 1, loss)
    fit_scaling_factor(vae, to_pixels(draw(steps)))
    vae.requires_grad_(False)
    return vae.eval()


@dataclass(frozen=True)
class BasePlan:
    """How a shared model becomes two experts.

    batches: where each role's training batches come from. settings: of the shared phase and of each branch; a branch of
    0 steps is a copy of the shared model.
    """

    batches: Mapping[Role, BatchSource]
    settings: Mapping[Role, TrainSettings]
    buckets: tuple[BucketSize, ...]
    split: TimeSplit
    prediction_type: PredictionType = PredictionType.EPSILON
    checkpoints: Path | None = None


def train_base(
    unet: nn.Module,
    text: TextEncoder,
    plan: BasePlan,
    on_step: Callable[[Role, StepReport], None] | None = None,
) -> dict[Role, nn.Module]:
    """Train the shared model on the whole time axis, branch, and train each expert on its own range.

    Each phase resumes from its own checkpoints, where a folder was given. Returns the experts with averaged weights.
    """
    shared = _train_role(unet, Role.SHARED, text, plan, on_step)
    experts: dict[Role, nn.Module] = {}
    for role in (Role.STRUCTURE, Role.TEXTURE):
        branch = copy.deepcopy(unet)
        shared.ema.copy_to(branch)
        _train_role(branch, role, text, plan, on_step).ema.copy_to(branch)
        experts[role] = branch.eval()
    return experts


def identity_of(role: Role, plan: BasePlan) -> ExpertIdentity:
    """What the weights of a role are for."""
    return ExpertIdentity(
        role=role,
        time_range=plan.split.range_of(role),
        num_timesteps=plan.split.num_timesteps,
        prediction_type=plan.prediction_type,
        buckets=plan.buckets,
    )


def crop_pictures(images: UInt8Images, size: tuple[int, int], rng: np.random.Generator) -> UInt8Images:
    """One window of `size` (height, width) from each of (B, H, W, 3), anywhere: small pictures at the large scale.

    Raises:
        ValueError: the window is larger than the pictures.
    """
    height, width = images.shape[1] - size[0], images.shape[2] - size[1]
    if min(height, width) < 0:
        raise ValueError(f"size: got {size}, expected at most {images.shape[1:3]}")
    tops, lefts = rng.integers(0, height + 1, len(images)), rng.integers(0, width + 1, len(images))
    return np.stack([image[y : y + size[0], x : x + size[1]] for image, y, x in zip(images, tops, lefts, strict=True)])


def _train_role(
    unet: nn.Module,
    role: Role,
    text: TextEncoder,
    plan: BasePlan,
    on_step: Callable[[Role, StepReport], None] | None,
) -> TrainResult:
    task = TrainTask(
        batches=plan.batches[role],
        schedule=NoiseSchedule(plan.split.num_timesteps),
        identity=identity_of(role, plan),
        null=text.encode([""]),
        checkpoints=plan.checkpoints / role.value if plan.checkpoints is not None else None,
    )

    def report(step: StepReport) -> None:
        if on_step is not None:
            on_step(role, step)

    return train(unet, task, plan.settings[role], report)
