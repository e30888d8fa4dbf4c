"""Tell the denoiser which resolution bucket it is in, by the row index alone.

The index is shared by both experts' columns, which is what lets the texture expert, trained small, be sampled large.
Source: released PanGu-Draw code (pooled text 1280 + 256 = 1536).
"""

import math
from collections.abc import Sequence

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

EMBEDDING_WIDTH = 256


class BucketSize(BaseModel):
    """One row of a bucket table: the two columns' (height, width) in pixels."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    index: int = Field(ge=0)
    structure: tuple[int, int]
    texture: tuple[int, int]


def bucket_sizes(rows: Sequence[object]) -> tuple[BucketSize, ...]:
    """Read a bucket table as `curation` writes it: [{"index", "structure": [h, w], "texture": [h, w]}, ...].

    Raises:
        ValueError: the indices are not 0, 1, 2, ... in order.
    """
    sizes = tuple(BucketSize.model_validate(row) for row in rows)
    if [size.index for size in sizes] != list(range(len(sizes))) or not sizes:
        raise ValueError(f"bucket table: got indices {[size.index for size in sizes]}, expected 0, 1, 2, ...")
    return sizes


def sinusoidal_embedding(index: Tensor, width: int = EMBEDDING_WIDTH, max_period: float = 10_000.0) -> Tensor:
    """Sinusoidal embedding of whole numbers. index: (B,); returns (B, width) float32, cosines before sines."""
    half = width // 2
    frequency = torch.exp(-math.log(max_period) * torch.arange(half, device=index.device, dtype=torch.float32) / half)
    angle = index.float()[:, None] * frequency[None]
    return torch.cat([angle.cos(), angle.sin()], dim=1)


def added_vector(pooled: Tensor, bucket: Tensor) -> Tensor:
    """The vector added to the time embedding. pooled: (B, P); bucket: (B,) int; returns (B, P + 256) like pooled."""
    return torch.cat([pooled, sinusoidal_embedding(bucket).to(pooled)], dim=1)
