"""Row 11: Coop-Diffusion against the naive loop, and a hand-off against a small picture with a second pass.

The naive loop is the listing of the paper by the parts of the two models: each step asks both with guidance and bridges both
ways through both autoencoders, whatever the weight. Both sides have the same weights, noise, steps and float32.
Model A is the carried expert pair (8 channels at 1/4), model B a Stable-Diffusion-shaped U-Net and autoencoder with random
weights (4 channels at 1/8) at twice the size. Random weights cost what trained ones do.
"""

from dataclasses import dataclass
from functools import partial

import diffusers
import numpy as np
import torch
from torch import Tensor

from pangu.autoencoder import to_uint8
from pangu.denoiser import PredictionType
from pangu.fusion import FusionPart, WeightSchedule, fuse_models
from pangu.fusion_request import Told
from pangu.latent_bridge import AutoencoderSpace, cross_bridge
from pangu.networks import build_unet
from pangu.pipeline import load_experts
from pangu.prompted_model import PromptedModel, sample
from pangu.resolution_handoff import HandOff, hand_off, matching_timestep
from pangu.unet_model import UNetModel, experts_model, tell_words
from ray_jobs.job_configs import SAMPLE_MODELS
from tests.benchmarks.interleaved import BenchmarkRow, compare

FADING = WeightSchedule.fading(0.5, full_until=600, zero_from=400)
EVERY = 6


@dataclass(frozen=True)
class Models:
    """The two members told their prompts, and the pair at half its size."""

    first: PromptedModel
    second: PromptedModel
    half: PromptedModel
    steps: int
    seeds: tuple[int, ...]


def make_models(steps: int, seeds: tuple[int, ...]) -> Models:
    """The pair at 64 px and at 32 px, and the other model at 128 px."""
    pipeline = load_experts(SAMPLE_MODELS / "experts")
    pair = experts_model(pipeline)
    rows = [Told("a red ball on a sandy beach", "", 3.0), Told("蓝色的星星，雪地背景", "", 3.0)][: len(seeds)]
    torch.manual_seed(0)
    unet = build_unet("sample", in_channels=4, out_channels=4).eval().requires_grad_(False)
    vae = diffusers.AutoencoderKL(
        down_block_types=["DownEncoderBlock2D"] * 4,
        up_block_types=["UpDecoderBlock2D"] * 4,
        block_out_channels=(16, 32, 32, 32),
        norm_num_groups=8,
        latent_channels=4,
    )
    other = UNetModel(
        unet_at=lambda t: unet,
        tell=lambda told, size: tell_words(pipeline.text, told, 5),
        space=AutoencoderSpace(vae.eval().requires_grad_(False)),
        schedule=pair.schedule,
        prediction_type=PredictionType.V,
        default_size=(128, 128),
    )
    return Models(pair.told(rows, (64, 64)), other.told(rows, (128, 128)), pair.told(rows, (32, 32)), steps, seeds)


@torch.inference_mode()
def naive(models: Models) -> np.ndarray:
    """The listing of section 5a, both models and both bridges at every step."""
    first, second = models.first, models.second
    schedule = first.schedule
    z, y = first.noise(models.seeds), second.noise(models.seeds)
    timesteps = schedule.sampling_timesteps(models.steps)
    for t, t_next in zip(timesteps, [*timesteps[1:], None], strict=True):
        weight = FADING.at(t, schedule)
        z0, y0 = first.denoise(z, t), second.denoise(y, t)
        from_second: Tensor = cross_bridge(y0, second.space, first.space, first.size)
        from_first: Tensor = cross_bridge(z0, first.space, second.space, second.size)
        z = schedule.ddim_step(z, weight * from_second + (1 - weight) * z0, t, t_next)
        y = schedule.ddim_step(y, (1 - weight) * from_first + weight * y0, t, t_next)
    return to_uint8(first.space.decode(z))


def ours(models: Models, every: int) -> np.ndarray:
    """The same fusion by the library."""
    joint = fuse_models([FusionPart(models.first), FusionPart(models.second, FADING)], every=every)
    return sample(joint, models.seeds, models.steps)


def decibels(mine: np.ndarray, theirs: np.ndarray) -> float:
    """PSNR of one set of pictures against another; infinite where they are equal."""
    error = ((mine.astype(float) - theirs) ** 2).mean()
    return float("inf") if error == 0 else float(10 * np.log10(255**2 / error))


def check_equal(mine: np.ndarray, theirs: np.ndarray) -> str:
    """Equal but for a rounding of a level."""
    apart = int(np.abs(mine.astype(int) - theirs).max())
    assert apart <= 1, f"pictures are {apart} levels apart"
    return f"largest difference {apart} of 255"


def check_near(mine: np.ndarray, theirs: np.ndarray) -> str:
    """The fused picture, not the first model's alone."""
    return f"PSNR {decibels(mine, theirs):.1f} dB to bridging at every step"


def passes(models: Models, plan: HandOff) -> np.ndarray:
    """The pair at half its size handed to its own."""
    return hand_off(models.half, models.first, plan, models.seeds, models.steps)


def check_sizes(mine: np.ndarray, theirs: np.ndarray) -> str:
    """Different algorithms: only that both are pictures of the large size."""
    assert mine.shape == theirs.shape
    return f"pictures differ by design; both {mine.shape[1]} x {mine.shape[2]}"


def measure(full: bool) -> list[BenchmarkRow]:
    """One picture in 10 steps; two in 20 with `full`."""
    models = make_models(20, (1, 2)) if full else make_models(10, (1,))
    schedule = models.first.schedule
    restart = matching_timestep(500, schedule, schedule, (models.half.size, models.first.size))
    case = partial(compare, 11)
    loop, steps = "naive loop: both models, both bridges, every step", f"{models.steps} steps"
    return [
        case(
            f"fusion, d fading to 0 at 400, {steps}",
            loop,
            ours=partial(ours, models, 1),
            theirs=partial(naive, models),
            check=check_equal,
            target=1.3,
        ),
        case(
            f"the same, bridge every {EVERY}",
            loop,
            ours=partial(ours, models, EVERY),
            theirs=partial(naive, models),
            check=check_near,
            target=2.5,
        ),
        case(
            f"hand-off 500 to {restart:.0f}, {steps}",
            f"small picture, second pass from {restart:.0f}",
            ours=partial(passes, models, HandOff(500, restart)),
            theirs=partial(passes, models, HandOff(0, restart)),
            check=check_sizes,
            target=1.6,
        ),
        case(
            f"hand-off 500 to 500, {steps}",
            "small picture, second pass of a whole walk",
            ours=partial(passes, models, HandOff(500)),
            theirs=partial(passes, models, HandOff(0, 999)),
            check=check_sizes,
            target=1.6,
        ),
    ]
