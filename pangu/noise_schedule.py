"""The diffusion schedule: abar_t, sigma_t, log-SNR, and adding noise.

| here           | paper            | meaning                                   |
|----------------|------------------|-------------------------------------------|
| `abar`         | alpha-bar_t      | cumulative product of 1 - beta            |
| `sigma`        | sigma_t          | sqrt((1 - abar) / abar)                   |
| `log_snr`      | lambda_t         | log(abar / (1 - abar))                    |
Source: released PanGu-Draw inference code; scaled linear betas from 0.00085 to 0.0120 over 1000 steps.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from pangu.torchvision_ops import declare_missing_ops

declare_missing_ops()

from diffusers import DDIMScheduler  # noqa: E402  (torchvision's operators must exist first)


@dataclass(frozen=True)
class NoiseSchedule:
    """Scaled-linear variance-preserving schedule.

    abar: (num_timesteps,) float64, strictly decreasing in (0, 1).
    """

    num_timesteps: int = 1000
    beta_start: float = 0.00085
    beta_end: float = 0.0120
    abar: Tensor = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Tabulate abar once.

        Raises:
            ValueError: the betas do not satisfy 0 < beta_start <= beta_end < 1.
        """
        if not 0 < self.beta_start <= self.beta_end < 1:
            raise ValueError(f"betas: got {self.beta_start} to {self.beta_end}, expected 0 < start <= end < 1")
        root = torch.linspace(self.beta_start**0.5, self.beta_end**0.5, self.num_timesteps, dtype=torch.float64)
        object.__setattr__(self, "abar", torch.cumprod(1 - root**2, dim=0))

    def sigma(self, t: Tensor | int) -> Tensor:
        """Noise-to-signal ratio sqrt((1 - abar) / abar), float64, shape of t."""
        abar = self.abar[t]
        return ((1 - abar) / abar).sqrt()

    def log_snr(self, t: Tensor | int) -> Tensor:
        """log(abar / (1 - abar)) = -2 log sigma, float64, shape of t."""
        return -2 * self.sigma(t).log()

    def signal_and_noise_rates(self, t: Tensor | int, like: Tensor) -> tuple[Tensor, Tensor]:
        """sqrt(abar_t) and sqrt(1 - abar_t) on the device and in the type of `like`, shaped to multiply it."""
        steps = torch.as_tensor(t, device="cpu").reshape(-1)
        abar = self.abar[steps].reshape(-1, *[1] * (like.dim() - 1))
        return abar.sqrt().to(like), (1 - abar).sqrt().to(like)

    def add_noise(self, x0: Tensor, noise: Tensor, t: Tensor | int) -> Tensor:
        """x_t = sqrt(abar_t) x0 + sqrt(1 - abar_t) noise. x0, noise: (B, ...); t: int or (B,)."""
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

    def ddim_step(self, x_t: Tensor, x0: Tensor, t: int, t_next: int | None) -> Tensor:
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
            beta_schedule="scaled_linear",
            prediction_type=prediction_type,
            clip_sample=False,
            set_alpha_to_one=True,
            timestep_spacing="trailing",
        )


def schedule_of(scheduler: DDIMScheduler) -> NoiseSchedule:
    """The schedule a stored scheduler describes.

    Raises:
        ValueError: its betas are not scaled linear.
    """
    config = scheduler.config
    if config.beta_schedule != "scaled_linear":
        raise ValueError(f"beta_schedule: got {config.beta_schedule!r}, expected 'scaled_linear'")
    return NoiseSchedule(config.num_train_timesteps, config.beta_start, config.beta_end)
