"""The diffusion schedule: abar_t, sigma_t, log-SNR, and adding noise.

| here           | paper            | meaning                                   |
|----------------|------------------|-------------------------------------------|
| `abar`         | alpha-bar_t      | cumulative product of 1 - beta            |
| `sigma`        | sigma_t          | sqrt((1 - abar) / abar)                   |
| `log_snr`      | lambda_t         | log(abar / (1 - abar))                    |
Source: released PanGu-Draw inference code; scaled linear betas from 0.00085 to 0.0120 over 1000 steps. Other models' betas
are known too, and timesteps between two whole ones, so that models of different schedules can meet at one noise level.
"""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pangu.torchvision_ops import declare_missing_ops

declare_missing_ops()

from diffusers import DDIMScheduler  # noqa: E402  (torchvision's operators must exist first)

KINDS = ("scaled_linear", "linear", "squaredcos_cap_v2")
"""The courses of betas by diffusers' names: the square of a line, a line, and a squared cosine's (arXiv 2102.09672)."""


@dataclass(frozen=True)
class NoiseSchedule:
    """Variance-preserving schedule, by default scaled linear.

    abar: (num_timesteps,) float64, strictly decreasing in (0, 1). kind: one of `KINDS`; the cosine's looks at no beta.
    """

    num_timesteps: int = 1000
    beta_start: float = 0.00085
    beta_end: float = 0.0120
    kind: str = "scaled_linear"
    abar: Tensor = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Tabulate abar once.

        Raises:
            ValueError: the betas do not satisfy 0 < beta_start <= beta_end < 1, or the kind is unknown.
        """
        if not 0 < self.beta_start <= self.beta_end < 1:
            raise ValueError(f"betas: got {self.beta_start} to {self.beta_end}, expected 0 < start <= end < 1")
        if self.kind not in KINDS:
            raise ValueError(f"beta_schedule: got {self.kind!r}, expected one of {', '.join(KINDS)}")
        object.__setattr__(self, "abar", torch.cumprod(1 - self._betas(), dim=0))

    def _betas(self) -> Tensor:
        steps, kinds = self.num_timesteps, {"linear": 1.0, "scaled_linear": 0.5}
        if self.kind in kinds:
            power = kinds[self.kind]
            line = torch.linspace(self.beta_start**power, self.beta_end**power, steps, dtype=torch.float64)
            return line ** (1 / power)
        level = [math.cos((t / steps + 0.008) / 1.008 * math.pi / 2) ** 2 for t in range(steps + 1)]
        return torch.tensor([min(1 - level[t + 1] / level[t], 0.999) for t in range(steps)], dtype=torch.float64)

    def abar_at(self, t: Tensor | float) -> Tensor:
        """abar at timesteps of any shape, float64; between two whole ones the log-SNR is interpolated."""
        steps = torch.as_tensor(t, device="cpu").double()
        low = steps.floor().long()
        share = steps - low
        if not share.any():
            return self.abar[low]
        high = (low + 1).clamp(max=self.num_timesteps - 1)
        between = torch.sigmoid(torch.lerp(self.log_snr(low), self.log_snr(high), share))
        return torch.where(share == 0, self.abar[low], between)

    def timestep_at(self, log_snr: float) -> float:
        """The timestep, whole or not, of this noise level; the nearest end of the schedule where it lies beyond.

        The inverse of `log_snr`, exact at whole timesteps.
        """
        levels = self.log_snr(torch.arange(self.num_timesteps)).flip(0).numpy()
        t = float(np.interp(log_snr, levels, np.arange(self.num_timesteps - 1, -1, -1)))
        return float(round(t)) if abs(t - round(t)) < 1e-6 else t

    def sigma(self, t: Tensor | float) -> Tensor:
        """Noise-to-signal ratio sqrt((1 - abar) / abar), float64, shape of t."""
        abar = self.abar_at(t)
        return ((1 - abar) / abar).sqrt()

    def log_snr(self, t: Tensor | float) -> Tensor:
        """log(abar / (1 - abar)) = -2 log sigma, float64, shape of t."""
        return -2 * self.sigma(t).log()

    def signal_and_noise_rates(self, t: Tensor | float, like: Tensor) -> tuple[Tensor, Tensor]:
        """sqrt(abar_t) and sqrt(1 - abar_t) on the device and in the type of `like`, shaped to multiply it."""
        abar = self.abar_at(t).reshape(-1, *[1] * (like.dim() - 1))
        return abar.sqrt().to(like), (1 - abar).sqrt().to(like)

    def add_noise(self, x0: Tensor, noise: Tensor, t: Tensor | float) -> Tensor:
        """x_t = sqrt(abar_t) x0 + sqrt(1 - abar_t) noise. x0, noise: (B, ...); t: a number or (B,)."""
        signal, spread = self.signal_and_noise_rates(t, x0)
        return signal * x0 + spread * noise

    def sampling_timesteps(self, num_steps: int) -> list[int]:
        """Trailing spacing, descending: 40 steps visit 999, 974, ..., 24, so 20 at or above 500 and 20 below.

        Raises:
            ValueError: num_steps is outside [1, num_timesteps].
        """
        if not 1 <= num_steps <= self.num_timesteps:
            raise ValueError(f"num_steps: got {num_steps}, expected 1 to {self.num_timesteps}")
        return [round(self.num_timesteps * (num_steps - k) / num_steps) - 1 for k in range(num_steps)]

    def ddim_step(self, x_t: Tensor, x0: Tensor, t: float, t_next: float | None) -> Tensor:
        """Deterministic DDIM (eta 0), which is Euler's step on sigma: keep the noise, lower its level.

        x_next = a_next x0 + s_next (x_t - a x0) / s. t_next None means clean data. The library's scheduler assumes that
        steps are evenly spaced, which whole timesteps are not unless num_steps divides num_timesteps; this does not.
        """
        if t_next is None:
            return x0
        signal, spread = self.signal_and_noise_rates(t, x_t)
        signal_next, spread_next = self.signal_and_noise_rates(t_next, x_t)
        return signal_next * x0 + spread_next * (x_t - signal * x0) / spread

    def to_scheduler(self, prediction_type: str = "epsilon") -> DDIMScheduler:
        """The diffusers scheduler with this schedule, as stored in a pipeline folder."""
        return DDIMScheduler(
            num_train_timesteps=self.num_timesteps,
            beta_start=self.beta_start,
            beta_end=self.beta_end,
            beta_schedule=self.kind,
            prediction_type=prediction_type,
            clip_sample=False,
            set_alpha_to_one=True,
            timestep_spacing="trailing",
        )


def schedule_of(scheduler: Any) -> NoiseSchedule:  # noqa: ANN401  (any diffusers scheduler of betas)
    """The schedule a stored scheduler describes.

    Raises:
        ValueError: it has no betas, or they follow no course of `KINDS`.
    """
    config = scheduler.config
    if "beta_schedule" not in config:
        raise ValueError(f"scheduler: got {type(scheduler).__name__}, expected one with beta_schedule among {KINDS}")
    for field_name in ("trained_betas", "rescale_betas_zero_snr"):
        if config.get(field_name):
            raise ValueError(f"{field_name}: got {config[field_name]!r}, expected none")
    return NoiseSchedule(config.num_train_timesteps, config.beta_start, config.beta_end, config.beta_schedule)
