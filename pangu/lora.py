"""Low-rank adapters (arXiv 2106.09685): W + (alpha / rank) B A, of which only A and B learn, merged when done.

The library peft does this and more, but brings accelerate, whose mere presence changes how diffusers loads models.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

TARGETS = (
    "q_proj",
    "k_proj",
    "v_proj",
    "o_proj",
    "gate_proj",
    "up_proj",
    "down_proj",
    "query_key_value",
    "gate_up_proj",
)
"""Names of the linear layers in the language models that transformers knows."""


class LoraLinear(nn.Module):
    """A frozen linear layer and what is added to it; at first nothing, since B is zero."""

    def __init__(self, linear: nn.Linear, rank: int, alpha: float) -> None:
        """Take a layer; its own weights stop learning."""
        super().__init__()
        self.linear = linear.requires_grad_(False)
        self.scale = alpha / rank
        self.down = nn.Parameter(torch.randn(rank, linear.in_features) / rank)
        self.up = nn.Parameter(torch.zeros(linear.out_features, rank))

    def forward(self, inputs: Tensor) -> Tensor:
        """(..., in) to (..., out)."""
        added = nn.functional.linear(nn.functional.linear(inputs, self.down), self.up)
        result: Tensor = self.linear(inputs) + self.scale * added
        return result

    @torch.no_grad()
    def merged(self) -> nn.Linear:
        """The plain layer with the adapter in its weights."""
        self.linear.weight += self.scale * (self.up @ self.down).to(self.linear.weight.dtype)
        return self.linear.requires_grad_(True)


def add_lora(model: nn.Module, rank: int, alpha: float, targets: Sequence[str] = TARGETS, seed: int = 0) -> int:
    """Freeze the model and put adapters on its target layers; how many there are.

    Raises:
        ValueError: it has no such layers.
    """
    torch.manual_seed(seed)
    model.requires_grad_(False)
    found = [
        (parent, name, layer)
        for parent in list(model.modules())
        for name, layer in parent.named_children()
        if isinstance(layer, nn.Linear) and name in targets
    ]
    if not found:
        raise ValueError(f"targets: none of {', '.join(targets)} is a linear layer of {type(model).__name__}")
    for parent, name, layer in found:
        setattr(parent, name, LoraLinear(layer, rank, alpha).to(layer.weight.device))
    return len(found)


def merge_lora(model: nn.Module) -> None:
    """Turn every adapter into plain weights; without adapters nothing changes."""
    for parent in list(model.modules()):
        for name, layer in list(parent.named_children()):
            if isinstance(layer, LoraLinear):
                setattr(parent, name, layer.merged())
    model.requires_grad_(True)
