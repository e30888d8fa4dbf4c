"""The configuration of every job, by pydantic alone, so that a DAG file or a form can read it in milliseconds.

Unknown keys are errors. What stands under ``runtime`` says how fast and where, never what comes out: it is left out of a
version's key.
"""

from collections.abc import Iterable
from typing import ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from ray_jobs.comparison_configs import PublishDashboard, RegisterPictures, SweepStyles
from ray_jobs.config_model import (
    PREFIXES,
    SAMPLE_MODELS,
    JobConfig,
    Runtime,
    Share,
    digest_of_path,
    model_folder,
)
from ray_jobs.enhancer_configs import ENHANCER_CONFIGS
from ray_jobs.generation_configs import PROMPT_SETS, GenerateImages, RegisterPrompts
from ray_jobs.moments import in_utc

__all__ = [
    "CONFIGS",
    "PREFIXES",
    "PROMPT_SETS",
    "SAMPLE_MODELS",
    "GenerateImages",
    "JobConfig",
    "PublishDashboard",
    "RegisterPictures",
    "RegisterPrompts",
    "Runtime",
    "SweepStyles",
    "digest_of_path",
    "model_folder",
]


class RegisterUrlList(JobConfig):
    """Which list, and what its columns are called."""

    path: str = Field(description="csv, tsv, jsonl, parquet or txt file with one URL a row")
    columns: dict[str, str] = Field(
        default={},
        description="what the list calls url, caption, captions_en, captions_zh, licence, sha256, where it differs",
    )
    rows_per_part: int = Field(200, ge=1, le=100_000)

    def paths(self) -> Iterable[str]:
        """The list's content decides, not where it stands."""
        return ("path",)


class DownloadImages(JobConfig):
    """How pictures are fetched and stored."""

    bucket_table: Literal["full", "sample"] = Field(
        "sample", description="pictures are shrunk only, and still cover it"
    )
    keep_scale: float = Field(3.0, ge=1, le=16, description="keep pixels for buckets this many times as large")
    timeout_s: float = Field(5.0, gt=0, le=600)
    max_bytes: int = Field(20_000_000, ge=1000)
    max_pixels: int = Field(50_000_000, ge=1000)
    max_redirects: int = Field(3, ge=0, le=20)
    retries: int = Field(1, ge=0, le=10)
    backoff_s: float = Field(0.2, ge=0, le=60)
    fetch_threads: int = Field(16, ge=1, le=256)
    user_agent: str = "Mozilla/5.0 (compatible; pangu-curation)"
    allow_hosts: tuple[str, ...] = Field(
        (), description="host:port that may be fetched although not public (the sample's server)"
    )
    blocked_sha256_file: str | None = Field(
        None, description="hex digests, one a line, of pictures that must never be stored"
    )
    encode_format: Literal["jpg", "png", "webp"] = "webp"
    encode_quality: int = Field(95, ge=1, le=100)
    max_failed_share: Share = Field(0.5, description="the run fails when more than this share of URLs gives no picture")

    def paths(self) -> Iterable[str]:
        """The block list's content decides."""
        return ("blocked_sha256_file",)


class ScoreImages(JobConfig):
    """Which scorer."""

    threads_decide: ClassVar[bool] = True
    scorer: str = Field("sample", description="'sample', a local open_clip folder, or hub id@revision")
    aesthetic_head: str | None = Field(None, description="safetensors head; the scorer folder's own by default")
    cartoon_head: str | None = None
    batch_size: int = Field(32, ge=1, le=1024)

    def paths(self) -> Iterable[str]:
        """Weights decide by content."""
        return ("scorer", "aesthetic_head", "cartoon_head")


class BuildTrainingSet(JobConfig):
    """Rules, styles and buckets."""

    bucket_table: Literal["full", "sample"] = "sample"
    min_side_px: int = Field(48, ge=1)
    max_aspect: float = Field(4.5, ge=1)
    min_caption_similarity: float | None = Field(None, ge=-1, le=1)
    min_aesthetic: float | None = Field(None, description="pictures below leave; in the head's units")
    aesthetic_pool: float = Field(5.5, description="pictures above are the aesthetic pool; in the head's units")
    cartoon_low: Share = Field(0.3, description="at or below: no cartoon; between the two: of neither pool")
    cartoon_high: Share = Field(0.7, description="at or above: the cartoon pool")
    duplicate_distance: int | None = Field(
        3, ge=0, le=16, description="perceptual hashes that differ in at most so many of 64 bits"
    )
    prefixes: dict[str, str] = PREFIXES


class TrainExpert(JobConfig):
    """Steps and optimiser of one expert."""

    threads_decide: ClassVar[bool] = True
    module: ClassVar[str | None] = "train_expert"
    role: ClassVar[str] = ""
    network: Literal["sample", "small", "full"] = "sample"
    init: Literal["base", "shared", "scratch"] = Field(
        "base", description="start from the base pair, the shared model, or nothing"
    )
    base: str = Field("sample", description="a pipeline folder: VAE, text encoder and, for init=base, the experts")
    bucket_table: Literal["full", "sample"] = "sample"
    split_timestep: int = Field(500, ge=0, le=1000)
    steps: int = Field(100, ge=0)
    batch_size: int = Field(32, ge=1, description="over all workers")
    learning_rate: float = Field(2e-4, gt=0)
    warmup_steps: int = Field(10, ge=0)
    ema_decay: float = Field(0.99, ge=0, lt=1)
    caption_dropout: Share = 0.1
    seed: int = 0
    checkpoint_every: int = Field(50, ge=1)
    gradient_checkpointing: bool = False
    precision: Literal["fp32", "bf16"] = "fp32"
    cache_latents: bool = Field(True, description="encode each picture once and keep its latents in memory")
    data_parallel: int = Field(1, ge=1, description="training processes; equal numbers give equal bits")

    def paths(self) -> Iterable[str]:
        """The base's weights decide by content."""
        return ("base",)


class TrainShared(TrainExpert):
    """The model both experts branch from."""

    role: ClassVar[str] = "shared"
    init: Literal["base", "shared", "scratch"] = "scratch"


class TrainStructure(TrainExpert):
    """The expert of the noisy half."""

    role: ClassVar[str] = "structure"

    def wanted_inputs(self, optional: tuple[str, ...]) -> tuple[str, ...]:
        """The shared model, when this expert branches from it."""
        return optional if self.init == "shared" else ()


class TrainTexture(TrainStructure):
    """The expert of the clean half."""

    role: ClassVar[str] = "texture"
    texture_pixels: Literal["shrunk", "window"] = Field(
        "shrunk",
        description="pictures shrunk to the texture size, or windows of that size out of the structure pictures",
    )


class PublishExperts(JobConfig):
    """What the published pair says of itself."""

    title: str = "Sample expert pair"
    prefixes: dict[str, str] = PREFIXES
    base: str = Field(
        "sample", description="the pipeline folder whose VAE and text encoder the experts were trained with"
    )
    provisional: bool = Field(True, description="the card and the site say so")

    def paths(self) -> Iterable[str]:
        """The base's weights decide by content."""
        return ("base",)


SCENE_CLASSES = ("ball", "box", "star", "heart", "tree", "house", "fish", "car")


class EvaluateImages(JobConfig):
    """Which feature networks, which reference, which intervals. A network whose path is not given is left out."""

    threads_decide: ClassVar[bool] = True
    scorer: str = Field("sample", description="'sample', a local open_clip folder, or hub id@revision")
    aesthetic_head: str | None = Field(None, description="safetensors head; the scorer folder's own where it has one")
    cartoon_head: str | None = Field(None, description="safetensors head; the scorer folder's own where it has one")
    chinese_scorer: str | None = Field(None, description="open_clip folder of a Chinese CLIP, for the CN-CLIP score")
    inception_weights: str | None = Field(None, description="torch-fidelity's Inception weights, for FID")
    mobilenet_weights: str | None = Field(None, description="safetensors file of MobileNetV2 in int8")
    dinov2: str | None = Field(None, description="DINOv2 folder in transformers' format, for FD-DINOv2")
    classes: tuple[str, ...] = Field(SCENE_CLASSES, description="what the scorer tells apart for the inception score")
    reference: str = Field(
        "training_set",
        description="what the pictures are held against: 'training_set', a folder of pictures, or 'none' for the metrics "
        "that need no reference",
    )
    num_reference: int = Field(2000, ge=2, description="kept pictures of the reference to compare with")
    seed: int = 0

    def paths(self) -> Iterable[str]:
        """Weights decide by content, and so does a folder of reference pictures."""
        heads = ("aesthetic_head", "cartoon_head")
        folder = () if self.reference in ("training_set", "none") else ("reference",)
        return ("scorer", *heads, "chinese_scorer", "inception_weights", "mobilenet_weights", "dinov2", *folder)

    def wanted_inputs(self, optional: tuple[str, ...]) -> tuple[str, ...]:
        """The training set with its pictures, where that is the reference."""
        return optional if self.reference == "training_set" else ()


class CompareModels(JobConfig):
    """Which night, and when the candidate may become the champion."""

    night: str = Field(description="the logical date, ISO 8601; the DAG gives its own")
    gate: Literal["off", "if_not_worse", "if_better"] = Field(
        "off", description="when the candidate may become the champion: never, unless it is worse, or if it is better"
    )
    gate_metrics: tuple[str, ...] = Field(
        ("clip_score", "aesthetic", "kid"), min_length=1, description="what decides; each must have been compared"
    )
    gate_rate: float = Field(0.05, gt=0, lt=1, description="chance of a false verdict over all of them")

    @field_validator("night")
    @classmethod
    def _check_night(cls, value: str) -> str:
        return in_utc(value)


class WriteHistory(JobConfig):
    """How many nights, and when one of them raises an alarm."""

    num_nights: int = Field(400, ge=1, description="the newest so many nights")
    strata: tuple[str, ...] = Field(
        ("all", "style", "language"), description="stratifications that are watched; fewer make a sharper alarm"
    )
    false_positive_rate: float = Field(0.01, gt=0, lt=1, description="chance that a quiet night raises any alarm")
    window: int = Field(14, ge=3, description="earlier nights that a night is held against, at most")
    min_nights: int = Field(5, ge=3, description="and at least, else nothing is decided")
    min_effect: dict[str, float] = Field(default={}, description="metric to the smallest change worth an alarm")
    baseline_from: str | None = Field(
        None, description="night before which nothing counts, after a change that was meant"
    )
    worse: dict[str, Literal[-1, 0, 1]] = Field(
        default={}, description="metric to 1 where higher is worse, -1 where lower is, 0 where either is"
    )

    @model_validator(mode="after")
    def _check_nights(self) -> "WriteHistory":
        if self.min_nights > self.window:
            raise ValueError(f"min_nights {self.min_nights} is above window {self.window}")
        return self

    @field_validator("baseline_from")
    @classmethod
    def _check_baseline(cls, value: str | None) -> str | None:
        return None if value is None else in_utc(value)


CONFIGS: dict[str, type[JobConfig]] = {
    "register_url_list": RegisterUrlList,
    "download_images": DownloadImages,
    "score_images": ScoreImages,
    "build_training_set": BuildTrainingSet,
    "train_shared": TrainShared,
    "train_structure": TrainStructure,
    "train_texture": TrainTexture,
    "publish_experts": PublishExperts,
    "register_prompts": RegisterPrompts,
    "generate_images": GenerateImages,
    "register_pictures": RegisterPictures,
    "sweep_styles": SweepStyles,
    "evaluate_images": EvaluateImages,
    "compare_models": CompareModels,
    "write_history": WriteHistory,
    "publish_dashboard": PublishDashboard,
    **ENHANCER_CONFIGS,
}
