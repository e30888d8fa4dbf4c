"""Classifier-free guidance with any number of styles, evaluated as one batch.

eps^ = eps(null) + s (eps(c) - eps(null)) + sum_k s_k (eps(c_k) - eps(c)), hence weights 1 - s, s - sum s_k and s_k.
They sum to 1, so the same rule holds for eps, v and x0: all three are affine in one another at a fixed x_t and t.
Source: supplement of arXiv 2312.16486, style-guided sampling.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pangu.denoiser import Conditioning, Denoiser, concatenate

NULL = "null"
PROMPT = "prompt"


def guidance_weights(scale: float, style_scales: Mapping[str, float]) -> dict[str, float]:
    """Weight of each branch, keyed `null`, `prompt` and the styles' names; branches of weight zero are left out.

    Raises:
        ValueError: a style is named like one of the two plain branches.
    """
    taken = {NULL, PROMPT} & set(style_scales)
    if taken:
        raise ValueError(f"style_scales: got the reserved name {sorted(taken)[0]!r}, expected a style's name")
    weights = {NULL: 1 - scale, PROMPT: scale - sum(style_scales.values()), **style_scales}
    return {name: weight for name, weight in weights.items() if weight != 0}


@dataclass(frozen=True)
class Branch:
    """One condition of a guided batch: conditioning of B rows, and each row's weight (B,)."""

    conditioning: Conditioning
    weight: Tensor


class GuidedDenoiser:
    """A denoiser guided by the branches it was given; all of them run in one batch of num_branches * B rows."""

    def __init__(self, denoiser: Denoiser, branches: Sequence[Branch]) -> None:
        """Fix the branches. A branch whose weight is zero in every row is skipped, and costs nothing.

        Raises:
            ValueError: some row's weights do not sum to 1.
        """
        self.denoiser = denoiser
        total = torch.stack([branch.weight for branch in branches]).double().sum(0)
        if not torch.allclose(total, torch.ones_like(total), atol=1e-5):
            raise ValueError(f"guidance weights: got sums {total.tolist()}, expected 1 in every row")
        self.branches = [branch for branch in branches if bool(branch.weight.ne(0).any())]
        self._conditioning = concatenate([branch.conditioning for branch in self.branches])

    def __call__(self, x_t: Tensor, t: int, conditioning: Conditioning | None = None) -> Tensor:
        """x_t: (B, C, h, w); returns the guided x0. The branches replace `conditioning`."""
        count = len(self.branches)
        x0 = self.denoiser(torch.cat([x_t] * count), t, self._conditioning).chunk(count)
        shape = (-1, *[1] * (x_t.dim() - 1))
        guided = torch.zeros_like(x_t)
        for branch, prediction in zip(self.branches, x0, strict=True):
            guided = guided + branch.weight.to(x_t).reshape(shape) * prediction
        return guided
