"""How much a model counts in a fusion, over time: d(t)."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np

from pangu.noise_schedule import NoiseSchedule

FULL_UNTIL = 500.0
ZERO_FROM = 200.0


@dataclass(frozen=True)
class WeightSchedule:
    """d over time: straight lines through points, constant beyond the first and the last.

    points: (place, weight) with places ascending. axis: what places are, timesteps of the first model's schedule or
    log-SNR. Two points at one place make a jump, the value there being the second's.
    """

    points: tuple[tuple[float, float], ...]
    axis: Literal["timestep", "log_snr"] = "timestep"

    def __post_init__(self) -> None:
        """Refuse what is no schedule: ValueError names the field, the value and what is accepted."""
        places = [place for place, _ in self.points]
        if not self.points or any(b < a for a, b in pairwise(places)) or not np.isfinite(self.points).all():
            raise ValueError(f"points: got {self.points}, expected (place, weight) pairs with finite, ascending places")
        if any(not 0 <= weight <= 1 for _, weight in self.points):
            raise ValueError(f"points: got {self.points}, expected weights from 0 to 1")
        if self.axis not in ("timestep", "log_snr"):
            raise ValueError(f"axis: got {self.axis!r}, expected 'timestep' or 'log_snr'")

    @classmethod
    def constant(cls, weight: float) -> "WeightSchedule":
        """The same weight at every step, as in the paper's listing."""
        return cls(((0.0, weight),))

    @classmethod
    def fading(cls, weight: float, full_until: float = FULL_UNTIL, zero_from: float = ZERO_FROM) -> "WeightSchedule":
        """The weight down to timestep `full_until`, then falling to 0 at `zero_from`: the default.

        The bridge's error enters epsilon with gain 1 / sigma, which is 0.6 at timestep 500 and 1.75 at 200.
        """
        return cls(((zero_from, 0.0), (full_until, weight)))

    @classmethod
    def within(cls, weight: float, low: float, high: float) -> "WeightSchedule":
        """The weight at timesteps low <= t < high, and 0 outside: the bridge in an interval."""
        return cls(((low, 0.0), (low, weight), (high, weight), (high, 0.0)))

    def at(self, t: float, schedule: NoiseSchedule) -> float:
        """d at a timestep of the schedule."""
        place = t if self.axis == "timestep" else float(schedule.log_snr(t))
        before = [point for point in self.points if point[0] <= place]
        after = [point for point in self.points if point[0] > place]
        if not before or not after:
            return (before[-1] if before else after[0])[1]
        (low, start), (high, end) = before[-1], after[0]
        return start + (end - start) * (place - low) / (high - low)
