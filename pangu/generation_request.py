"""What is asked of a generator and what it gives back: one record for a picture wanted, one for a picture made."""

import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from pangu.autoencoder import UInt8Images
from pangu.guidance import Guidance
from pangu.samplers import SamplerName
from pangu.time_range import Role


class GenerationRequest(BaseModel):
    """One image to make.

    key: name of the row, returned with the image. negative: text in place of the empty one. bucket: row of the bucket
    table; column: which of the row's two sizes. size: (height, width) px, for models without a bucket table. sampler:
    None for the model's own, which for a pair of experts is DDIM. guidance: s, 1 for none; texture_guidance: s of the
    texture expert where it differs. guidance_interval: [lo, hi) in training timesteps, outside which the prompt alone is
    evaluated. styles: style name to s_style.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str
    prompt: str
    negative: str = ""
    seed: int = Field(ge=0, lt=2**63)
    bucket: int = Field(default=5, ge=0)
    steps: int = Field(default=40, ge=1, le=1000)
    sampler: SamplerName | None = None
    guidance: float = Field(default=6.0, ge=0, allow_inf_nan=False)
    texture_guidance: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    guidance_interval: tuple[int, int] | None = None
    styles: dict[str, float] = Field(default_factory=dict)
    column: Literal["structure", "texture"] = "structure"
    size: tuple[int, int] | None = None

    @model_validator(mode="after")
    def _check(self) -> "GenerationRequest":
        if self.guidance_interval is not None and not 0 <= self.guidance_interval[0] < self.guidance_interval[1]:
            raise ValueError(f"guidance_interval: got {self.guidance_interval}, expected (lo, hi) with 0 <= lo < hi")
        if self.size is not None and min(self.size) < 1:
            raise ValueError(f"size: got {self.size}, expected a height and a width of at least 1 px")
        return self

    @property
    def guidance_rule(self) -> Guidance:
        """How strongly each branch counts at each timestep."""
        texture = self.guidance if self.texture_guidance is None else self.texture_guidance
        return Guidance({Role.STRUCTURE: self.guidance, Role.TEXTURE: texture}, self.styles, self.guidance_interval)


@dataclass(frozen=True)
class GeneratedImage:
    """A request's image, (H, W, 3) uint8 RGB, and what it took.

    steps: sampling steps of each expert. evaluations: network evaluations of each expert for this row, one a branch and
    step, padding not counted. batch_rows, decode_rows: sizes of the padded batches that its networks ran in; more than
    one only where memory ran out on the way.
    """

    request: GenerationRequest
    image: UInt8Images
    steps: Mapping[Role, int] = field(default_factory=dict)
    evaluations: Mapping[Role, int] = field(default_factory=dict)
    batch_rows: tuple[int, ...] = ()
    decode_rows: tuple[int, ...] = ()

    @property
    def sha256(self) -> str:
        """Digest of shape and pixels."""
        header = f"{self.image.shape[0]}x{self.image.shape[1]}:".encode()
        return hashlib.sha256(header + self.image.tobytes()).hexdigest()


@dataclass(frozen=True)
class Progress:
    """Rows that have just taken a step together, by the keys of their requests.

    step: how many steps they have taken, of `steps`. x0: (B, C, h, w) latents, what their models now expect in the end.
    """

    keys: tuple[str, ...]
    step: int
    steps: int
    x0: Tensor


Watcher = Callable[[Progress], Collection[str]]
"""Told of every step; the keys that it returns are given up: they take no further step and give no image."""


class ImageGenerator(Protocol):
    """What batch and service need of a model, be it a pair of experts or any text-to-image pipeline of diffusers."""

    rows_per_batch: int

    @property
    def reduced(self) -> dict[str, int]:
        """Batch sizes that memory has forced down, by what they run."""
        ...

    def check(self, request: GenerationRequest) -> None:
        """Refuse what the model cannot do: a ValueError naming the field, its value and what is accepted."""
        ...

    def generate(
        self, requests: Sequence[GenerationRequest], on_step: Callable[[int], None] | None = None
    ) -> list[GeneratedImage]:
        """One image a request, in order; RowMemoryError when some rows do not fit in memory even alone."""
        ...


def row_seed(prompt_id: str, sample_index: int, run_seed: int) -> int:
    """Seed of one row, 0 <= seed < 2**63, by its own identity alone."""
    digest = hashlib.sha256(f"{run_seed}/{sample_index}/{prompt_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def row_noise(seed: int, shape: tuple[int, int, int]) -> Tensor:
    """Standard normal noise (C, h, w) float32 of one row, from a CPU generator of its own."""
    return torch.randn(shape, generator=torch.Generator("cpu").manual_seed(seed))
