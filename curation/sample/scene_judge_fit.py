"""Training the scene judge from random initialisation on drawn scenes, by steps, and measuring what it reads.

Every step draws its batch and its softening from `[seed, step]`, so a run that goes on from a checkpoint ends where an
unbroken one does. Pictures are softened (blur, lost resolution, noise, colour and place shifts) because generated ones
are soft; no autoencoder and no generated picture has any part in it.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field
from torch.nn import functional as F

from curation.buckets import SAMPLE_BUCKETS
from curation.sample.scene_captions import is_held_out
from curation.sample.scene_judge import (
    UNASKED,
    JudgeNetwork,
    SceneJudge,
    UInt8Image,
    judge_input,
    judge_targets,
    split_logits,
    squash,
)
from curation.sample.scenes import Scene, draw, random_scene

SQUARE_SHARE = 0.4


class JudgeFitSettings(BaseModel):
    """How long and on what; about ten minutes of one core as it stands."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    work_folder: Path
    num_scenes: int = Field(16000, ge=64)
    steps: int = Field(5000, ge=1)
    batch_size: int = Field(64, ge=2)
    peak_rate: float = Field(2e-3, gt=0)
    checkpoint_every: int = Field(250, ge=1)
    seed: int = 5


@dataclass(frozen=True)
class DrawnScenes:
    """Scenes and their pictures at their buckets' sizes, (H, W, 3) uint8."""

    scenes: list[Scene]
    images: list[UInt8Image]

    def squashed(self) -> UInt8Image:
        """(N, 64, 64, 3) uint8."""
        return np.stack([squash(image) for image in self.images])

    def aspects(self) -> NDArray[np.float64]:
        """Width / height, (N,)."""
        return np.array([image.shape[1] / image.shape[0] for image in self.images])


def draw_at(scene: Scene, size: tuple[int, int], seed: int, *, scale: int = 2) -> UInt8Image:
    """`scene` drawn `scale` times as large and shrunk to `size` (height, width): (H, W, 3) uint8."""
    height, width = size
    drawn = draw(scene, (width * scale, height * scale), seed)
    return np.array(drawn.resize((width, height), Image.Resampling.BICUBIC), np.uint8)


def draw_scenes(num_scenes: int, *, held_out: bool, seed: int) -> DrawnScenes:
    """Scenes of every sample bucket, of the combinations kept for evaluation (`held_out`) or of the others alone."""
    rng = np.random.default_rng(seed)
    rows = SAMPLE_BUCKETS.rows
    shares = [SQUARE_SHARE if row.index == 5 else (1 - SQUARE_SHARE) / (len(rows) - 1) for row in rows]
    drawn = DrawnScenes([], [])
    while len(drawn.scenes) < num_scenes:
        height, width = rows[int(rng.choice(len(rows), p=shares))].structure
        scene = random_scene(rng, aspect=width / height)
        if is_held_out(scene) is not held_out:
            continue
        picture_seed = int(rng.integers(2**32))
        drawn.images.append(draw_at(scene, (height, width), picture_seed, scale=1 + len(drawn.scenes) % 2))
        drawn.scenes.append(scene)
    return drawn


def target_table(scenes: Sequence[Scene]) -> torch.Tensor:
    """Classes (N, attributes) int64, in the order of `ATTRIBUTES`."""
    return torch.tensor([list(judge_targets(scene).values()) for scene in scenes])


def soften(pixels: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """RGB (N, 3, 64, 64) in [-1, 1] moved, blurred, coarsened, recoloured and made noisy, each by chance; same shape."""

    def uniform(low: float, high: float, *shape: int) -> torch.Tensor:
        return torch.rand(shape, generator=generator) * (high - low) + low

    count = len(pixels)
    angles = uniform(-0.05, 0.05, count)
    scale_x, scale_y = uniform(0.92, 1.08, count), uniform(0.92, 1.08, count)
    rows_x = torch.stack([scale_x, angles, uniform(-0.08, 0.08, count)], dim=1)
    rows_y = torch.stack([-angles, scale_y, uniform(-0.08, 0.08, count)], dim=1)
    grid = F.affine_grid(torch.stack([rows_x, rows_y], dim=1), list(pixels.shape), align_corners=False)
    moved = F.grid_sample(pixels, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    coarse = [max(16, round(side)) for side in uniform(18, 64, 2).tolist()]
    soft = F.interpolate(F.interpolate(moved, coarse, mode="area"), moved.shape[2:], mode="bicubic")
    share = uniform(0, 1, count, 1, 1, 1) * (uniform(0, 1, count, 1, 1, 1) < 0.6)
    moved = moved * (1 - share) + soft * share
    gain, offset = uniform(0.92, 1.08, count, 3, 1, 1), uniform(-0.06, 0.06, count, 3, 1, 1)
    level = uniform(0, 0.12, count, 1, 1, 1) * (uniform(0, 1, count, 1, 1, 1) < 0.6)
    noise = torch.randn(moved.shape, generator=generator)
    cloudy = F.interpolate(torch.randn((count, 3, 12, 12), generator=generator), moved.shape[2:], mode="bilinear")
    noisy = moved * gain + offset + level * noise + 0.6 * level.flip(0) * cloudy
    return noisy.clamp(-1, 1)


def judge_loss(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy over attributes; logits (N, sum of classes), targets (N, attributes) with `UNASKED` left out."""
    losses = [
        F.cross_entropy(part, targets[:, at], ignore_index=UNASKED, label_smoothing=0.03)
        for at, part in enumerate(split_logits(logits).values())
    ]
    return torch.stack([loss for loss in losses if torch.isfinite(loss)]).mean()


def fit_judge(settings: JudgeFitSettings, progress: Callable[[str], None]) -> SceneJudge:
    """Train, or go on from the work folder's checkpoint, to the last step; the judge."""
    torch.manual_seed(settings.seed)
    network = JudgeNetwork().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = torch.optim.AdamW(network.parameters(), lr=settings.peak_rate, weight_decay=0.02)
    saved = settings.work_folder / "judge.pt"
    start = 0
    if saved.is_file():
        state = torch.load(saved, weights_only=True)
        network.load_state_dict(state["network"])
        optimiser.load_state_dict(state["optimiser"])
        start = state["step"]
        progress(f"judge: goes on after step {start}")
    if start >= settings.steps:
        return SceneJudge(network)
    drawn = draw_scenes(settings.num_scenes, held_out=False, seed=settings.seed)
    progress(f"judge: {settings.num_scenes} scenes drawn")
    pixels, aspects, targets = drawn.squashed(), drawn.aspects(), target_table(drawn.scenes)
    network.train()
    for step in range(start, settings.steps):
        rng = np.random.default_rng([settings.seed, step])
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        torch.manual_seed(int(rng.integers(2**62)))  # dropout
        chosen = rng.choice(len(targets), settings.batch_size, replace=len(targets) < settings.batch_size)
        inputs = judge_input(pixels[chosen], aspects[chosen])
        inputs[:, :3] = soften(inputs[:, :3], generator)
        for group in optimiser.param_groups:
            group["lr"] = _rate(settings, step)
        loss = _fit_step(network, optimiser, inputs, targets[torch.from_numpy(chosen)])
        if (step + 1) % settings.checkpoint_every == 0 or step + 1 == settings.steps:
            settings.work_folder.mkdir(parents=True, exist_ok=True)
            state = {"network": network.state_dict(), "optimiser": optimiser.state_dict(), "step": step + 1}
            torch.save(state, saved.with_suffix(".new"))
            saved.with_suffix(".new").replace(saved)
            progress(f"judge step {step + 1} of {settings.steps}: loss {loss:.4f}")
    return SceneJudge(network)


def _rate(settings: JudgeFitSettings, step: int) -> float:
    """Learning rate: a short warm-up, then a cosine to a hundredth."""
    done = step / settings.steps
    warm = min(1.0, (step + 1) / 100)
    return settings.peak_rate * warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done)))


def _fit_step(
    network: JudgeNetwork, optimiser: torch.optim.Optimizer, inputs: torch.Tensor, targets: torch.Tensor
) -> float:
    """One update on softened inputs (B, 4, 64, 64) and targets (B, attributes); the loss."""
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = network(inputs.contiguous(memory_format=torch.channels_last))
    loss = judge_loss(logits.float(), targets)
    optimiser.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
    optimiser.step()
    return loss.item()
