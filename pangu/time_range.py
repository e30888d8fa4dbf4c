"""Which expert owns which training timesteps: the only place that knows the split.

Time runs over whole t in [0, num_timesteps); t = 0 is clean, the last is nearly pure noise. Ranges are half open.
Source: arXiv 2312.16486, sec. 3.1 (time-decoupled training); T_struct = 500 of 1000.
"""

from collections.abc import Sequence
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, model_validator


class Role(StrEnum):
    """What a denoiser is for: one expert, or the whole time axis before the two branch."""

    STRUCTURE = "structure"
    TEXTURE = "texture"
    SHARED = "shared"


class TimeRange(BaseModel):
    """Training timesteps t with start <= t < stop."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    start: int
    stop: int

    @model_validator(mode="after")
    def _check(self) -> "TimeRange":
        if not 0 <= self.start <= self.stop:
            raise ValueError(f"time range: got [{self.start}, {self.stop}), expected 0 <= start <= stop")
        return self

    def __contains__(self, t: object) -> bool:
        """True for a timestep inside the range; samplers may hand over whole numbers as floats."""
        return isinstance(t, int | float) and self.start <= t < self.stop

    def __len__(self) -> int:
        """Number of training timesteps in the range."""
        return self.stop - self.start

    def __str__(self) -> str:
        """`[start, stop)`."""
        return f"[{self.start}, {self.stop})"


class TimeSplit(BaseModel):
    """The time axis cut once: texture owns [0, boundary), structure owns [boundary, num_timesteps).

    boundary is a training timestep in [0, num_timesteps]; at either end one expert owns everything.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    num_timesteps: int = 1000
    boundary: int = 500

    @model_validator(mode="after")
    def _check(self) -> "TimeSplit":
        if not 0 <= self.boundary <= self.num_timesteps:
            raise ValueError(f"boundary: got {self.boundary}, expected 0 to {self.num_timesteps}")
        return self

    def range_of(self, role: Role) -> TimeRange:
        """The timesteps a role trains on and is sampled on."""
        if role is Role.TEXTURE:
            return TimeRange(start=0, stop=self.boundary)
        if role is Role.STRUCTURE:
            return TimeRange(start=self.boundary, stop=self.num_timesteps)
        return TimeRange(start=0, stop=self.num_timesteps)

    def expert_at(self, t: float) -> Role:
        """The expert that owns the current timestep.

        Raises:
            ValueError: t lies outside [0, num_timesteps).
        """
        if not 0 <= t < self.num_timesteps:
            raise ValueError(f"t: got {t}, expected 0 <= t < {self.num_timesteps}")
        return Role.TEXTURE if t < self.boundary else Role.STRUCTURE

    def phases(self, timesteps: Sequence[int]) -> list[tuple[Role, list[int]]]:
        """Group a descending list of sampling timesteps into runs of one expert, in order."""
        runs: list[tuple[Role, list[int]]] = []
        for t in timesteps:
            role = self.expert_at(t)
            if not runs or runs[-1][0] is not role:
                runs.append((role, []))
            runs[-1][1].append(t)
        return runs
