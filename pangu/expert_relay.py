"""Two experts seen as one denoiser: the current timestep decides, never the previous one nor a share of the steps."""

from collections.abc import Mapping

from torch import Tensor

from pangu.denoiser import Conditioning, Denoiser
from pangu.time_range import Role, TimeSplit


class ExpertRelay:
    """Hands each call to the expert that owns t.

    calls: how often each role was asked, in the order of first use. rows: how many rows each evaluated, padding and all.
    """

    def __init__(self, experts: Mapping[Role, Denoiser], split: TimeSplit) -> None:
        """experts: one denoiser for each role that owns any timestep.

        Raises:
            ValueError: a role that owns timesteps has no expert.
        """
        for role in (Role.STRUCTURE, Role.TEXTURE):
            if len(split.range_of(role)) and role not in experts:
                raise ValueError(f"experts: got {sorted(experts)}, expected one for {role} {split.range_of(role)}")
        self.experts = dict(experts)
        self.split = split
        self.calls: dict[Role, int] = {}
        self.rows: dict[Role, int] = {}

    def __call__(self, x_t: Tensor, t: float, conditioning: Conditioning) -> Tensor:
        """See `Denoiser`."""
        role = self.split.expert_at(t)
        self.calls[role] = self.calls.get(role, 0) + 1
        self.rows[role] = self.rows.get(role, 0) + len(x_t)
        return self.experts[role](x_t, t, conditioning)
