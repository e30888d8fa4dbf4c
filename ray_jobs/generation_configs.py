"""The configuration of the jobs that make pictures: which prompts, how they are sampled, marked, filtered and bounded."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from ray_jobs.config_model import FrozenModel, JobConfig, Share, digest_of_path

PROMPT_SETS = {
    "partiprompts": "PartiPrompts.tsv",
    "geneval": "geneval_metadata.jsonl",
    "coco_val2014": "coco2014_5k_captions.tsv",
    "coco_val2017": "coco_val2017_captions.jsonl",
    "coco_cn": "coco-cn_ext.icap2020.txt",
    "coco_cn_pairs": "coco_zh_en_pairs.jsonl",
}
"""Published prompt sets by name, and what the file of each is called in the user's folder."""


class RegisterPrompts(JobConfig):
    """Which prompts."""

    path: str | None = Field(
        None, description="parquet, csv, tsv, jsonl or txt; without it and a prompt_set, the sample's own prompts"
    )
    prompt_set: (
        Literal["partiprompts", "geneval", "coco_val2014", "coco_val2017", "coco_cn", "coco_cn_pairs"] | None
    ) = Field(None, description="a published set, read from prompt_folder")
    prompt_folder: str | None = Field(None, description="folder with the files of the published sets, as published")
    prompt_set_version: str | None = Field(
        None, description="digest that the set's file must have; any when absent. The manifest has it"
    )
    num_prompts: int = Field(96, ge=1, description="how many of the sample's prompts")
    max_prompts: int | None = Field(None, ge=1, description="at most so many, chosen by the hashes of their ids")
    num_shards: int = Field(1, ge=1, description="take the prompts in so many parts, cut by the hashes of their ids")
    shard: int | None = Field(
        None,
        ge=0,
        description="which part, from 0; the DAG takes the logical date's, so a backfill of so many days has all",
    )
    rows_per_part: int = Field(32, ge=1)

    @model_validator(mode="after")
    def _check_source(self) -> "RegisterPrompts":
        if self.prompt_set is not None and self.path is not None:
            raise ValueError("path and prompt_set are both given; accepted is one of them")
        if self.prompt_set is not None and self.prompt_folder is None:
            raise ValueError("prompt_set needs prompt_folder, the folder that its file stands in")
        if self.shard is not None and self.shard >= self.num_shards:
            raise ValueError(
                f"shard {self.shard} of num_shards {self.num_shards}; accepted are 0 to {self.num_shards - 1}"
            )
        if self.num_shards > 1 and self.shard is None:
            raise ValueError("num_shards needs shard, which of them to take")
        return self

    def paths(self) -> Iterable[str]:
        """The file's content decides."""
        return ("path",)

    def decisive(self) -> dict[str, Any]:
        """As of every job; of the folder, only the file of the set."""
        fields = super().decisive()
        if self.prompt_set is not None:
            file = Path(self.prompt_folder or "") / PROMPT_SETS[self.prompt_set]
            fields["prompt_folder"] = f"content:{digest_of_path(file)}" if file.is_file() else self.prompt_folder
        return fields


class Marking(FrozenModel):
    """How pictures say that a model made them. The metadata is always written; these come on top of it."""

    system: str = Field("PanGu-Draw", min_length=1, max_length=200, description="what the metadata names as the maker")
    watermark: Literal["none", "pattern", "rivaGan"] = Field(
        "none", description="a mark in the pixels, for pictures of at least 256x256"
    )
    c2pa_certificate: str | None = Field(None, description="PEM chain to sign with; no C2PA manifest when absent")
    c2pa_private_key: str | None = Field(None, description="PEM key of the certificate, readable by every worker")

    @model_validator(mode="after")
    def _check_keys(self) -> "Marking":
        if (self.c2pa_certificate is None) != (self.c2pa_private_key is None):
            raise ValueError("c2pa_certificate and c2pa_private_key: one is given; accepted are both or neither")
        return self


class Filtering(FrozenModel):
    """Which classifier may block pictures; nothing is blocked without one."""

    factory: str | None = Field(
        None, description="module:name of what makes the filter, such as pangu.nsfw_filter:make_filter"
    )
    weights: str | None = Field(None, description="its file or folder")
    thresholds: dict[str, float] = Field(default={}, description="class name to the score from which it blocks")


class Budget(FrozenModel):
    """What a run may take; refused before it starts when the prediction is above."""

    max_images: int | None = Field(None, ge=1)
    max_hours: float | None = Field(None, gt=0, description="of wall time")
    max_cost: float | None = Field(None, gt=0, description="in currency")
    cost_per_device_hour: float = Field(0.0, ge=0, description="of one worker; in currency")
    currency: str = "USD"

    @model_validator(mode="after")
    def _check_rate(self) -> "Budget":
        if self.max_cost is not None and not self.cost_per_device_hour:
            raise ValueError("max_cost needs cost_per_device_hour")
        return self

    @property
    def needs_speed(self) -> bool:
        """Whether counting pictures is not enough."""
        return self.max_hours is not None or self.max_cost is not None


class GenerateImages(JobConfig):
    """How pictures are sampled."""

    threads_decide: ClassVar[bool] = True
    steps: int = Field(40, ge=1, le=1000)
    sampler: Literal["ddim", "euler", "dpm_solver++", "unipc"] | None = Field(
        None, description="the model's own if absent"
    )
    guidance: float = Field(6.0, ge=0, le=30)
    texture_guidance: float | None = Field(None, ge=0, le=30, description="of the texture expert, where it differs")
    guidance_interval: tuple[int, int] | None = Field(
        None, description="[low, high) in training timesteps, outside which nothing is guided"
    )
    negative: str = Field("", description="what is guided away from, where a prompt's own row names nothing")
    style_scales: dict[str, float] = Field(default={}, description="s_style of every prompt, by style name")
    prompt_style_scale: float = Field(
        0.0, ge=0, le=30, description="s_style of the style that a prompt's own row names"
    )
    model: str = Field(
        "experts", description="'experts' for the published pair; else a diffusers folder, or hub id@revision"
    )
    dtype: Literal["float32", "bfloat16"] = Field("float32", description="of the networks; steps are taken in float32")
    size: str | None = Field(
        None, pattern=r"[1-9]\d*x[1-9]\d*", description="WIDTHxHEIGHT of plain models, where a prompt names none"
    )
    enhance: str | None = Field(
        None, description="'enhancer' for the published one; else a language model's folder, or hub id@revision"
    )
    samples_per_prompt: int = Field(1, ge=1)
    run_seed: int = Field(0, ge=0)
    batch_size: int = Field(16, ge=1, description="rows of one padded batch; part of the key, since shapes decide bits")
    encode_format: Literal["png", "webp", "jpg"] = "png"
    encode_quality: int = Field(95, ge=1, le=100, description="of webp (100: lossless) and jpg; png has none")
    container: Literal["parquet", "webdataset"] = Field(
        "parquet", description="where the pixels stand: in the rows, or in one tar beside each part"
    )
    mark: Marking = Marking()
    output_filter: Filtering = Filtering()
    images_per_part: int = Field(
        64, ge=1, description="pictures stored at a time, in whole batches; the first run of a version decides"
    )
    max_failed_share: Share = Field(
        0.05, description="the run fails when more than this share of the pictures fails or cannot be marked"
    )
    offload_inactive_expert: bool = Field(False, description="keep one expert at a time on the device")
    budget: Budget = Budget()

    def paths(self) -> Iterable[str]:
        """A model's content decides, not where it stands."""
        named = {"model": self.model not in ("experts",), "enhance": self.enhance not in (None, "enhancer")}
        return tuple(name for name, is_path in named.items() if is_path)

    def wanted_inputs(self, optional: tuple[str, ...]) -> tuple[str, ...]:
        """The published pair, unless another model is named; the published enhancer, where prompts go through it."""
        wanted = {"experts": self.model == "experts", "enhancer": self.enhance == "enhancer"}
        return tuple(name for name in optional if wanted[name])

    def decisive(self) -> dict[str, Any]:
        """As of every job; of certificates and weights the content, and nothing of what decides no row."""
        fields = super().decisive()
        for name in ("images_per_part", "max_failed_share", "offload_inactive_expert", "budget"):
            del fields[name]
        del fields["mark"]["c2pa_private_key"]
        if self.enhance is None:
            del fields["enhance"]
        for table, name in (("mark", "c2pa_certificate"), ("output_filter", "weights")):
            path = fields[table][name]
            if path and Path(path).exists():
                fields[table][name] = f"content:{digest_of_path(Path(path))}"
        return fields
