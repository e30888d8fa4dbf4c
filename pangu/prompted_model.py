"""A model that has been told what to draw, and the one loop that samples it.

`PromptedModel` is what fusion, hand-off and plain sampling take and give: a denoiser with its conditioning inside, the
space of its latents, its noise schedule and its picture size. An expert relay, a ControlNet and a fusion all become one,
so each may be a part of any other.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import torch
from torch import Tensor

from pangu.autoencoder import UInt8Images, to_uint8
from pangu.latent_bridge import LatentSpace, Size
from pangu.noise_schedule import NoiseSchedule
from pangu.samplers import SamplerName, make_sampler


class PromptedDenoiser(Protocol):
    """`pangu.denoiser.Denoiser` with its conditioning inside."""

    def __call__(self, x_t: Tensor, t: float) -> Tensor:
        """x_t: (B, ...) at a timestep of the model's own schedule; returns x0, same shape."""
        ...


def begin(denoise: PromptedDenoiser, x_t: Tensor, t: float) -> Callable[[], Tensor]:
    """Ask for x0; the call that is returned waits for it.

    A denoiser whose network is elsewhere has a `begin` of its own and works meanwhile; any other works when waited for.
    """
    started: Callable[[Tensor, float], Callable[[], Tensor]] | None = getattr(denoise, "begin", None)
    return partial(denoise, x_t, t) if started is None else started(x_t, t)


@dataclass(frozen=True)
class PromptedModel:
    """See the module. size: (height, width) px of the picture. device: where its latents live."""

    denoise: PromptedDenoiser
    space: LatentSpace
    schedule: NoiseSchedule
    size: Size
    device: torch.device | str = "cpu"

    def noise(self, seeds: Sequence[int]) -> Tensor:
        """Latents (B, ...) to start from, each row drawn on the CPU from its own seed."""
        return torch.cat([self.space.noise(seed, self.size) for seed in seeds]).to(self.device)


StepHook = Callable[[int, int, Callable[[], UInt8Images]], None]
"""Told (step from 1, total, preview) after each step; `preview()` decodes the picture as predicted now, (B, H, W, 3)
uint8. What it raises ends the work: that is how a run is cancelled."""


def run_steps(
    model: PromptedModel,
    x_t: Tensor,
    timesteps: Sequence[float],
    *,
    stop: float | None = None,
    sampler: SamplerName = SamplerName.DDIM,
    on_step: StepHook | None = None,
) -> Tensor:
    """Latents after the steps: clean ones, or with `stop` x0 as predicted at that last timestep.

    x_t: at the first of the timesteps, which descend. stop: a timestep below all of them, where the model is asked once
    more and the walk ends.
    """
    visited = [*timesteps] if stop is None else [*timesteps, stop]
    total = len(visited)
    walk = make_sampler(sampler, model.schedule, visited)
    x0 = x_t
    for number, t in enumerate(visited, start=1):
        x0 = model.denoise(x_t, t)
        if getattr(model.denoise, "has_jumped", False):
            walk.restart()
        if on_step is not None:
            on_step(number, total, _preview(model, x0))
        x_t = walk.step(x_t, x0)
    return x_t if stop is None else x0


def _preview(model: PromptedModel, x0: Tensor) -> Callable[[], UInt8Images]:
    return lambda: to_uint8(model.space.decode(x0))


@torch.inference_mode()
def sample(
    model: PromptedModel,
    seeds: Sequence[int],
    steps: int,
    *,
    sampler: SamplerName = SamplerName.DDIM,
    on_step: StepHook | None = None,
) -> UInt8Images:
    """Pictures (B, H, W, 3) uint8 of the seeds, from pure noise."""
    timesteps = model.schedule.sampling_timesteps(steps)
    latents = run_steps(model, model.noise(seeds), timesteps, sampler=sampler, on_step=on_step)
    return to_uint8(model.space.decode(latents))
