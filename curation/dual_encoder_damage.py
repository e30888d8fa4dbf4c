"""Technical damage done to pictures on purpose: what a quality head learns to rank below the clean picture."""

from collections.abc import Callable

import torch
from torch.nn import functional as F

Damage = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""(pictures (B, 3, S, S) float in [0, 255], severity (B, 1, 1, 1) in (0, 1]) -> damaged pictures, same shape."""


def blur(pictures: torch.Tensor, severity: torch.Tensor) -> torch.Tensor:
    """Blend towards a picture that kept one pixel in sixteen (severity 1)."""
    side = pictures.shape[-1]
    soft = F.interpolate(F.avg_pool2d(pictures, 4), size=side, mode="bilinear", align_corners=False)
    softer = F.avg_pool2d(soft, 5, stride=1, padding=2, count_include_pad=False)
    share = (0.55 + 0.45 * severity).expand_as(pictures)
    return pictures * (1 - share) + softer * share


def noise(pictures: torch.Tensor, severity: torch.Tensor) -> torch.Tensor:
    """Gaussian noise of 14 to 50 levels."""
    return (pictures + (14 + 36 * severity) * torch.randn_like(pictures)).clamp(0, 255)


def wash_out(pictures: torch.Tensor, severity: torch.Tensor) -> torch.Tensor:
    """Contrast and colour reduced towards a light grey."""
    keep = 0.6 - 0.4 * severity
    grey = pictures.mean(1, keepdim=True)
    return (pictures * 0.6 + grey * 0.4) * keep + 175 * (1 - keep)


def crush_blocks(pictures: torch.Tensor, severity: torch.Tensor) -> torch.Tensor:
    """Visible blocks and steps of tone, as over-compression leaves them."""
    side = pictures.shape[-1]
    blocky = F.interpolate(F.avg_pool2d(pictures, 4), size=side, mode="nearest")
    step = 24 + 24 * severity
    banded = ((pictures * 0.35 + blocky * 0.65) / step).round() * step
    share = 0.5 + 0.5 * severity
    return (pictures * (1 - share) + banded * share).clamp(0, 255)


def crop_badly(pictures: torch.Tensor, severity: torch.Tensor) -> torch.Tensor:
    """A corner blown up: the subject is cut, the rest soft."""
    count, _, side, _ = pictures.shape
    scale = (0.5 - 0.2 * severity).flatten()
    corner = torch.randint(0, 2, (2, count)) * 2 - 1
    shift = corner * (1 - scale)
    zero = torch.zeros(count)
    rows = [torch.stack([scale, zero, shift[0]], 1), torch.stack([zero, scale, shift[1]], 1)]
    grid = F.affine_grid(torch.stack(rows, 1), [count, 3, side, side], align_corners=False)
    return F.grid_sample(pictures, grid, padding_mode="border", align_corners=False)


DAMAGES: dict[str, Damage] = {
    "blur": blur,
    "noise": noise,
    "wash_out": wash_out,
    "blocks": crush_blocks,
    "bad_crop": crop_badly,
}

NAMEABLE: tuple[str, ...] = ("blur", "noise", "wash_out", "blocks")
"""Damages after which a picture still shows what its caption says."""


def damage_randomly(
    pictures: torch.Tensor, names: tuple[str, ...] = NAMEABLE, *, share: float = 1.0
) -> tuple[torch.Tensor, torch.Tensor]:
    """Damage about `share` of the pictures; the pictures and whether each was damaged, (B,) bool."""
    count = len(pictures)
    chosen = torch.where(torch.rand(count) < share, torch.randint(0, len(names), (count,)), torch.tensor(-1))
    severity = torch.rand(count, 1, 1, 1) * 0.95 + 0.05
    result = pictures.clone()
    for index, name in enumerate(names):
        rows = (chosen == index).nonzero().flatten()
        if len(rows):
            result[rows] = DAMAGES[name](pictures[rows], severity[rows])
    return result, chosen >= 0
