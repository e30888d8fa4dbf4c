"""Classifier-free guidance with any number of styles, each row of a batch guided by its own rule.

eps^ = eps(null) + s (eps(c) - eps(null)) + sum_k s_k (eps(c_k) - eps(c)), hence weights 1 - s, s - sum s_k and s_k.
They sum to 1, so the same rule holds for eps, v and x0: all three are affine in one another at a fixed x_t and t.
Source: supplement of arXiv 2312.16486, style-guided sampling; guidance in an interval of t: arXiv 2404.07724.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from pangu.denoiser import Conditioning, Denoiser
from pangu.padded_batches import SingleRowError
from pangu.time_range import Role, TimeSplit

NULL = "null"
PROMPT = "prompt"


def guidance_weights(scale: float, style_scales: Mapping[str, float]) -> dict[str, float]:
    """Weight of each branch, keyed `null`, `prompt` and the styles' names in order; branches of weight zero are left out.

    Raises:
        ValueError: a style is named like one of the two plain branches.
    """
    taken = {NULL, PROMPT} & set(style_scales)
    if taken:
        raise ValueError(f"style_scales: got the reserved name {sorted(taken)[0]!r}, expected a style's name")
    styles = {name: style_scales[name] for name in sorted(style_scales)}
    weights = {NULL: 1 - scale, PROMPT: scale - sum(styles.values()), **styles}
    return {name: weight for name, weight in weights.items() if weight != 0}


@dataclass(frozen=True)
class Guidance:
    """How one row is guided.

    scales: s while each expert runs. styles: style name to s_style. interval: [lo, hi) in training timesteps; outside of
    it the prompt alone counts. None for guidance at every t.
    """

    scales: Mapping[Role, float]
    styles: Mapping[str, float] = field(default_factory=dict)
    interval: tuple[int, int] | None = None

    def weights_at(self, t: float, role: Role) -> dict[str, float]:
        """Weights of the branches that count at t, where `role` runs."""
        if self.interval is not None and not self.interval[0] <= t < self.interval[1]:
            return {PROMPT: 1.0}
        return guidance_weights(self.scales[role], self.styles)

    @property
    def branches(self) -> frozenset[str]:
        """Every branch that may count at some t."""
        always = set() if self.interval is None else {PROMPT}
        return frozenset(always.union(*(guidance_weights(scale, self.styles) for scale in self.scales.values())))


@dataclass(frozen=True)
class GuidedRow:
    """One row of a guided batch: its rule, and for each branch the row of the conditioning that holds it."""

    guidance: Guidance
    places: Mapping[str, int]


class GuidedDenoiser:
    """A denoiser that evaluates, for each row, just the branches that count at t, all rows' branches in one call.

    evaluations: of each row so far.
    """

    def __init__(
        self, denoiser: Denoiser, conditioning: Conditioning, rows: Sequence[GuidedRow], split: TimeSplit
    ) -> None:
        """conditioning: the branches of all rows, on the device; rows may share them. split: says which s counts."""
        self.denoiser = denoiser
        self.conditioning = conditioning
        self.rows = rows
        self.split = split
        self.evaluations = [0] * len(rows)

    def __call__(self, x_t: Tensor, t: float, conditioning: Conditioning | None = None) -> Tensor:
        """x_t: (B, C, h, w), one for each row; returns the guided x0. The branches replace `conditioning`.

        Raises:
            SingleRowError: memory ran out for one row alone; it names the row of this batch.
        """
        weights = [row.guidance.weights_at(t, self.split.expert_at(t)) for row in self.rows]
        owners = [number for number, of_row in enumerate(weights) for _ in of_row]
        places = [row.places[name] for row, of_row in zip(self.rows, weights, strict=True) for name in of_row]
        told = self.conditioning.rows(torch.tensor(places, device=self.conditioning.bucket.device))
        try:
            x0 = self.denoiser(x_t[torch.tensor(owners, device=x_t.device)], t, told)
        except SingleRowError as error:
            raise SingleRowError(owners[error.row]) from error
        guided: list[Tensor] = []
        for number, of_row in enumerate(weights):
            start = owners.index(number)
            guided.append(_weighted_sum(list(of_row.values()), x0[start : start + len(of_row)]))
            self.evaluations[number] += len(of_row)
        return torch.cat(guided)


def _weighted_sum(weights: Sequence[float], predictions: Tensor) -> Tensor:
    """The (1, ...) sum of each weight times its row, added in order."""
    total = weights[0] * predictions[:1]
    for number, weight in enumerate(weights[1:], start=1):
        total = total + weight * predictions[number : number + 1]
    return total
