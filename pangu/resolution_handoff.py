"""Coop-Diffusion across resolutions: one denoising walk, begun by a small-picture model and finished by a large one.

The first model walks from noise down to `stop` and predicts its clean picture there; that is decoded, resized in pixels
and encoded by the second, fresh noise of level `restart` is added, and the second walks to the end. No super-resolution
model is needed, and no step is done twice.

    small, large = low_model.told(rows, (64, 64)), high_model.told(rows, (128, 128))
    pictures = hand_off(small, large, HandOff(stop=500), seeds=[1, 2], steps=30)             # (2, 128, 128, 3) uint8

Source: arXiv 2312.16486, which has one level for both; two are ours, since upsampling moves the matching noise: averaging
2 x 2 pixels halves the noise, so the small model's t = 500 looks like the large one's 693 (`matching_timestep`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pangu.autoencoder import UInt8Images, to_uint8
from pangu.latent_bridge import Size, cross_bridge
from pangu.noise_schedule import NoiseSchedule
from pangu.prompted_model import PromptedModel, StepHook, run_steps
from pangu.samplers import SamplerName


@dataclass(frozen=True)
class HandOff:
    """Where the small model stops and the large one begins, in timesteps of their own schedules.

    stop: T for the large model alone; 0 for the small one's whole walk. restart: None for the level that equals `stop` in
    log-SNR, as in the paper. At stop 0 that is the finished small picture, upsampled, through the large autoencoder; with a
    restart above 0 it is a second pass, the usual way to the same end.
    """

    stop: float = 500.0
    restart: float | None = None

    def __post_init__(self) -> None:
        """Refuse levels below 0: ValueError names the field."""
        for name in ("stop", "restart"):
            value = getattr(self, name)
            if value is not None and not value >= 0:
                raise ValueError(f"{name}: got {value}, expected a timestep of at least 0")


def matching_timestep(stop: float, low: NoiseSchedule, high: NoiseSchedule, sizes: tuple[Size, Size]) -> float:
    """The large model's timestep at which its noise, averaged down to the small picture, is the small model's at `stop`.

    sizes: (height, width) of the small and of the large picture. Source: arXiv 2301.10972 (noise shifts with resolution).
    """
    (height, width), (higher, wider) = sizes
    scale = float(np.sqrt(higher * wider / (height * width)))
    return high.timestep_at(float(low.log_snr(stop)) - 2 * float(np.log(scale)))


@torch.inference_mode()
def hand_off(
    low: PromptedModel,
    high: PromptedModel,
    plan: HandOff,
    seeds: Sequence[int],
    steps: int,
    *,
    sampler: SamplerName = SamplerName.DDIM,
    on_step: StepHook | None = None,
) -> UInt8Images:
    """Pictures (B, H, W, 3) uint8 of the large size, one a seed.

    steps: of a whole walk; each model takes those of its own part of it. on_step: told steps of both parts as one walk.

    Raises:
        ValueError: a level lies beyond the model's schedule, or the steps are none of it.
    """
    before = steps_above(low.schedule, plan.stop, steps)
    level = high.schedule.num_timesteps if plan.stop >= low.schedule.num_timesteps else _restart(low, high, plan)
    after = steps_below(high.schedule, level, steps)
    asks_at_stop = bool(before) and bool(after) and plan.stop > 0
    total = len(before) + asks_at_stop + len(after)

    def from_step(first: int) -> StepHook | None:
        if on_step is None:
            return None
        return lambda step, _, preview: on_step(first + step, total, preview)

    if not before:
        x_t = high.noise(seeds)
    else:
        stop = plan.stop if asks_at_stop else None
        seen = run_steps(low, low.noise(seeds), before, stop=stop, sampler=sampler, on_step=from_step(0))
        clean = cross_bridge(seen, low.space, high.space, high.size)
        x_t = clean if not after else _noised(high, clean, seeds, after[0])
    if after:
        done = len(before) + asks_at_stop
        x_t = run_steps(high, x_t, after, sampler=sampler, on_step=from_step(done))
    return to_uint8(high.space.decode(x_t))


def steps_above(schedule: NoiseSchedule, stop: float, steps: int) -> list[float]:
    """The timesteps of a whole walk that lie above `stop`; all of them where that is 0."""
    return [float(t) for t in schedule.sampling_timesteps(steps) if t > stop or stop == 0]


def steps_below(schedule: NoiseSchedule, level: float, steps: int) -> list[float]:
    """`level`, then the timesteps of a whole walk below it; none where it is 0, the whole walk where it is T.

    Raises:
        ValueError: the level lies beyond the schedule.
    """
    whole = [float(t) for t in schedule.sampling_timesteps(steps)]
    if level > schedule.num_timesteps:
        raise ValueError(f"restart: got {level}, expected 0 to {schedule.num_timesteps}")
    if level >= whole[0]:
        return whole
    return [level, *(t for t in whole if t < level)] if level > 0 else []


def _restart(low: PromptedModel, high: PromptedModel, plan: HandOff) -> float:
    if plan.restart is not None:
        return plan.restart
    if plan.stop == 0 or low.schedule == high.schedule:
        return plan.stop
    return high.schedule.timestep_at(float(low.schedule.log_snr(plan.stop)))


def _noised(high: PromptedModel, clean: Tensor, seeds: Sequence[int], level: float) -> Tensor:
    """Clean latents under fresh noise, which is no seed's starting noise."""
    fresh = high.noise([int(np.random.SeedSequence([seed, 1]).generate_state(1, np.uint64)[0] >> 1) for seed in seeds])
    return high.schedule.add_noise(clean, fresh.to(clean), level)
