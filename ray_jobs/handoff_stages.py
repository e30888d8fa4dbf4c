"""What `compare_handoff` compares: its settings, the small and the large model with what they are told, the references."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field

from pangu.fusion_request import FusionModel, Told
from pangu.member_file import load_members
from pangu.pipeline import load_experts
from pangu.prompted_model import PromptedModel
from pangu.unet_model import experts_model
from pangu.upscaler import Upscale
from ray_jobs.job_configs import SAMPLE_MODELS
from ray_jobs.judge_figures import JudgeSettings
from ray_jobs.judge_measures import drawn_references, judged_prompts

UInt8Image = NDArray[np.uint8]


class HandOffSettings(BaseModel):
    """How the ways are compared. stop: T_low. restart: None for the timestep that matches it at the larger size.

    second_pass: the large model's first timestep where it starts from the finished small picture; None for the same restart,
    so that the large model does equal work in both.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompts: int = Field(default=96, ge=2)
    steps: int = Field(default=30, ge=1)
    guidance: float = Field(default=3.0, ge=0)
    seeds: tuple[int, ...] = (0, 1, 2)
    stop: float = 500.0
    restart: float | None = None
    second_pass: float | None = None
    sweep: tuple[float, ...] = (0.0, 200.0, 300.0, 400.0, 500.0, 600.0, 700.0, 800.0)
    rows_per_batch: int = Field(default=8, ge=1)
    references_per_prompt: int = Field(default=4, ge=1)


@dataclass(frozen=True)
class Stages:
    """The two models with their sizes, and what they are told: texts (N,). upscale: a second pass of another kind."""

    low: FusionModel
    high: FusionModel
    low_size: tuple[int, int]
    high_size: tuple[int, int]
    texts: Sequence[str]
    upscale: Upscale | None = None

    def models(self, rows: Sequence[int], guidance: float) -> tuple[PromptedModel, PromptedModel]:
        """Both told the texts at these places."""
        told = [Told(self.texts[row], "", guidance) for row in rows]
        return self.low.told(told, self.low_size), self.high.told(told, self.high_size)


def sample_stages(given: HandOffSettings) -> tuple[Stages, list[UInt8Image]]:
    """The carried pair at its square bucket's two sizes on held-out prompts, and drawn references."""
    pipeline = load_experts(SAMPLE_MODELS / "experts")
    model = experts_model(pipeline)
    bucket = pipeline.card.buckets[5]
    asked = [prompt for prompt in judged_prompts(2 * given.prompts, 3) if prompt.bucket is None][: given.prompts]
    texts = [pipeline.card.prefixes[prompt.style or ""] + prompt.prompt for prompt in asked]
    settings = JudgeSettings(prompts=given.prompts, seed=3, references_per_prompt=given.references_per_prompt)
    return Stages(model, model, bucket.texture, bucket.structure, texts), drawn_references(asked, settings)


def named_stages(chosen: argparse.Namespace, given: HandOffSettings) -> tuple[Stages, list[UInt8Image]]:
    """Members of a file at their own default sizes, prompts one a line, pictures of a folder as references."""
    members = load_members(chosen.members)
    for field in ("low", "high"):
        if getattr(chosen, field) not in members:
            raise ValueError(f"{field}: got {getattr(chosen, field)!r}, expected one of {sorted(members)}")
    texts = chosen.prompts.read_text(encoding="utf-8").splitlines()[: given.prompts]
    low, high = members[chosen.low].model, members[chosen.high].model
    paths = sorted(
        path for path in chosen.references.iterdir() if path.suffix.lower() in {".png", ".jpg", ".jpeg", ".webp"}
    )
    references = [np.asarray(Image.open(path).convert("RGB"), np.uint8) for path in paths]
    return Stages(low, high, low.default_size, high.default_size, texts), references
