"""Exponential moving average of weights, kept in float32."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn


class Ema:
    """Average of a module's parameters; what is sampled from and published.

    decay ramps up as (1 + n) / (10 + n) over the first updates n, so that early random weights are forgotten.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        """Start at the module's present weights.

        Raises:
            ValueError: decay is outside [0, 1).
        """
        if not 0 <= decay < 1:
            raise ValueError(f"ema_decay: got {decay}, expected 0 <= decay < 1")
        self.decay = decay
        self.num_updates = 0
        self.weights = {name: value.detach().float().clone() for name, value in module.named_parameters()}

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Move towards the module's weights."""
        self.num_updates += 1
        decay = min(self.decay, (1 + self.num_updates) / (10 + self.num_updates))
        for name, value in module.named_parameters():
            self.weights[name].lerp_(value.detach().float(), 1 - decay)

    @torch.no_grad()
    def copy_to(self, module: nn.Module) -> None:
        """Overwrite the module's weights with the average."""
        for name, value in module.named_parameters():
            value.copy_(self.weights[name])

    def load(self, weights: Mapping[str, Tensor], num_updates: int) -> None:
        """Take over a stored average.

        Raises:
            ValueError: the stored names are not the module's.
        """
        if weights.keys() != self.weights.keys():
            difference = sorted(weights.keys() ^ self.weights.keys())
            raise ValueError(f"ema weights: got names that differ in {difference[:3]}")
        self.weights = {name: weights[name].to(value.device).clone() for name, value in self.weights.items()}
        self.num_updates = num_updates
