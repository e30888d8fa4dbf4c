"""Two experts, autoencoder, text encoder and schedule as one diffusers folder that says what it is.

<folder>/ model_index.json structure/ texture/ vae/ text_encoder/ scheduler/  what diffusers writes
          experts.json   roles, time ranges, buckets, prefixes, training facts, digests of the weights
          README.md      the same for people
"""

import hashlib
from pathlib import Path
from typing import Any, Self

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from pangu.autoencoder import downsampling_factor
from pangu.bucket_conditioning import BucketSize
from pangu.checkpoint import ExpertIdentity
from pangu.denoiser import PredictionType, UNetDenoiser
from pangu.errors import ExpertMismatchError
from pangu.expert_relay import ExpertRelay
from pangu.model_card import render_model_card
from pangu.networks import erase_origins
from pangu.noise_schedule import NoiseSchedule, schedule_of
from pangu.text_encoder import TextEncoder, check_prefixes
from pangu.time_range import Role, TimeSplit
from pangu.torchvision_ops import declare_missing_ops

declare_missing_ops()

from diffusers import DDIMScheduler, DiffusionPipeline, UNet2DConditionModel  # noqa: E402  (operators must exist first)
from diffusers.models.modeling_utils import ModelMixin  # noqa: E402

EXPERTS_FILE = "experts.json"
FORMAT_VERSION = 1
WEIGHTS_FILE = "diffusion_pytorch_model.safetensors"


class ExpertsCard(BaseModel):
    """The facts that are not in the networks' own configs.

    prefixes: style name to the text put before a caption of that style. training: free facts for the model card, such
    as steps, losses and the data's version. digests: sha256 of each network's weights file, filled in by saving.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: int = FORMAT_VERSION
    structure: ExpertIdentity
    texture: ExpertIdentity
    prefixes: dict[str, str] = Field(default_factory=dict)
    training: dict[str, str | int | float | list[float]] = Field(default_factory=dict)
    licence: str = "apache-2.0"
    digests: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _check_pair(self) -> "ExpertsCard":
        pair_split(self.structure, self.texture)
        return self

    @property
    def split(self) -> TimeSplit:
        """Where the time axis is cut."""
        return pair_split(self.structure, self.texture)

    @property
    def buckets(self) -> tuple[BucketSize, ...]:
        """The bucket table both experts share."""
        return self.structure.buckets


def pair_split(structure: ExpertIdentity, texture: ExpertIdentity) -> TimeSplit:
    """The split that two experts form.

    Raises:
        ExpertMismatchError: swapped roles, ranges that do not tile the time axis, or other tables or predictions.
    """
    if (structure.role, texture.role) != (Role.STRUCTURE, Role.TEXTURE):
        raise ExpertMismatchError(
            f"role: got {structure.role} as structure and {texture.role} as texture; the pair is swapped"
        )
    for field in ("num_timesteps", "prediction_type", "buckets"):
        if getattr(structure, field) != getattr(texture, field):
            raise ExpertMismatchError(f"{field}: the structure and the texture expert were trained with different ones")
    split = TimeSplit(num_timesteps=structure.num_timesteps, boundary=texture.time_range.stop)
    for expert in (structure, texture):
        if expert.time_range != split.range_of(expert.role):
            raise ExpertMismatchError(
                f"time_range: {expert.role} owns {expert.time_range}, expected {split.range_of(expert.role)}; together "
                f"the experts must tile [0, {split.num_timesteps})"
            )
    return split


class PanGuDrawPipeline(DiffusionPipeline):
    """The two experts and what they share; sampling is `generate.Generator`."""

    card: ExpertsCard

    def __init__(
        self,
        structure: UNet2DConditionModel,
        texture: UNet2DConditionModel,
        vae: ModelMixin,
        text_encoder: ModelMixin,
        scheduler: DDIMScheduler,
    ) -> None:
        """The five modules of the folder; the card is set by `build` or by loading."""
        super().__init__()
        self.register_modules(
            structure=structure, texture=texture, vae=vae, text_encoder=text_encoder, scheduler=scheduler
        )

    @classmethod
    def build(cls, modules: dict[str, Any], card: ExpertsCard) -> Self:
        """A checked pipeline from modules `structure, texture, vae, text_encoder` and the card.

        Raises:
            ExpertMismatchError: the two networks differ in shape, or fit neither the autoencoder nor the buckets.
            ValueError: a style prefix is unknown to the text encoder.
        """
        schedule = NoiseSchedule(card.split.num_timesteps)
        pipeline: Self = cls(**modules, scheduler=schedule.to_scheduler(card.structure.prediction_type.value))
        pipeline.card = card
        pipeline.check()
        return pipeline

    def check(self) -> None:
        """See `build` for what is refused."""
        if _shape_of(self.structure) != _shape_of(self.texture):
            raise ExpertMismatchError("structure and texture: the two networks have different configs")
        if self.structure.config.in_channels != self.vae.config.latent_channels:
            raise ExpertMismatchError(
                f"in_channels: the experts take {self.structure.config.in_channels} channels, the autoencoder gives "
                f"{self.vae.config.latent_channels}"
            )
        if self.scheduler.config.prediction_type != self.card.structure.prediction_type:
            raise ExpertMismatchError(
                f"prediction_type: the scheduler says {self.scheduler.config.prediction_type}, the experts "
                f"{self.card.structure.prediction_type}"
            )
        step = self.side_step
        for bucket in self.card.buckets:
            if any(side % step for side in (*bucket.structure, *bucket.texture)):
                raise ExpertMismatchError(f"buckets: row {bucket.index} has a side that does not divide by {step}")
        check_prefixes(self.text, list(self.card.prefixes.values()))

    @property
    def text(self) -> TextEncoder:
        """The text encoder, typed."""
        encoder: TextEncoder = self.text_encoder
        return encoder

    @property
    def schedule(self) -> NoiseSchedule:
        """The noise schedule the experts were trained with."""
        return schedule_of(self.scheduler)

    @property
    def side_step(self) -> int:
        """Pixels by which every side must divide: the autoencoder's factor times the U-Net's."""
        return downsampling_factor(self.vae) * int(2 ** (len(self.structure.config.block_out_channels) - 1))

    def relay(self) -> ExpertRelay:
        """Both experts as one denoiser."""
        kind = PredictionType(self.card.structure.prediction_type)
        experts = {
            Role.STRUCTURE: UNetDenoiser(self.structure, self.schedule, kind),
            Role.TEXTURE: UNetDenoiser(self.texture, self.schedule, kind),
        }
        return ExpertRelay(experts, self.card.split)

    def save_pretrained(self, save_directory: str | Path, **settings: Any) -> None:  # noqa: ANN401  (passed through)
        """Write the folder, with the card in both its forms."""
        folder = Path(save_directory)
        super().save_pretrained(str(folder), **settings)
        erase_origins(folder)
        card = self.card.model_copy(update={"digests": weight_digests(folder)})
        (folder / EXPERTS_FILE).write_text(card.model_dump_json(indent=1) + "\n", encoding="utf-8")
        (folder / "README.md").write_text(render_model_card(card.model_dump(mode="json")), encoding="utf-8")

    @classmethod
    def from_pretrained(cls, path: str | Path, **settings: Any) -> Self:  # noqa: ANN401  (passed through)
        """Read a local folder and refuse experts that were swapped, changed or mixed.

        Raises:
            ExpertMismatchError: the card or the weights' digests do not fit.
        """
        folder = Path(path)
        card = read_card(folder)
        found = weight_digests(folder)
        changed = sorted(name for name in card.digests if found.get(name) != card.digests[name])
        if changed:
            raise ExpertMismatchError(f"weights of {', '.join(changed)} in {folder} are not those {EXPERTS_FILE} names")
        pipeline: Self = super().from_pretrained(str(folder), use_safetensors=True, **settings)
        pipeline.card = card
        pipeline.check()
        return pipeline


def read_card(folder: Path) -> ExpertsCard:
    """Read `experts.json`.

    Raises:
        ExpertMismatchError: there is none, it is of a newer format, or its experts do not fit together.
    """
    path = folder / EXPERTS_FILE
    if not path.is_file():
        raise ExpertMismatchError(f"{path}: no such file, expected a folder written by PanGuDrawPipeline")
    try:
        card = ExpertsCard.model_validate_json(path.read_text(encoding="utf-8"))
    except ValidationError as error:
        raise ExpertMismatchError(f"{path}: {error}") from error
    if card.format_version > FORMAT_VERSION:
        raise ExpertMismatchError(f"format_version: got {card.format_version}, this code reads up to {FORMAT_VERSION}")
    return card


def load_experts(
    folder: Path, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32
) -> PanGuDrawPipeline:
    """The checked pipeline of a folder, on a device, ready to sample.

    dtype: of the experts and the autoencoder; texts are encoded, and steps taken, in float32 whatever it is.
    """
    pipeline = PanGuDrawPipeline.from_pretrained(folder, dtype=torch.float32)
    for name in ("structure", "texture", "vae", "text_encoder"):
        getattr(pipeline, name).requires_grad_(False).eval()
    pipeline.to(device)
    cast_networks(pipeline, dtype)
    return pipeline


def cast_networks(pipeline: PanGuDrawPipeline, dtype: torch.dtype) -> None:
    """Experts and autoencoder in a type; in short types channels come last, by which a CPU's convolutions are quicker."""
    if dtype is torch.float32:
        return
    for name in ("structure", "texture", "vae"):
        network: torch.nn.Module = getattr(pipeline, name)
        network.to(dtype=dtype)
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def weight_digests(folder: Path) -> dict[str, str]:
    """sha256 of each network's weights file, by the name of its folder."""
    return {
        path.parent.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.glob(f"*/{WEIGHTS_FILE}"))
    }


def _shape_of(unet: UNet2DConditionModel) -> dict[str, Any]:
    return {key: value for key, value in unet.config.items() if not key.startswith("_")}
