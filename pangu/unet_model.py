"""Pretrained U-Net models as fusion members: the expert pair, single U-Nets of this repository, with any ControlNets.

`diffusers_model` makes the same of Stable Diffusion's pipelines.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pangu.autoencoder import UInt8Images
from pangu.bucket_conditioning import added_vector
from pangu.denoiser import PredictionType
from pangu.fusion_request import Told
from pangu.image_encoder import ClipImageEncoder
from pangu.latent_bridge import AutoencoderSpace, GridSpace, Size
from pangu.noise_schedule import NoiseSchedule
from pangu.pipeline import PanGuDrawPipeline
from pangu.prompted_model import PromptedModel
from pangu.text_encoder import TextEncoder, TextFeatures
from pangu.time_range import Role
from pangu.told_unet import Branch, ToldRows, ToldUNet

Branches = tuple[Branch, Branch]
TellRows = Callable[[Sequence[Told], Size], Branches]
"""Rows of words, or pictures, to the null and the prompt branch."""


@dataclass(frozen=True)
class AcceptedSizes:
    """(height, width) px that a model can draw. step: what both sides divide by. only: the only ones; None for any."""

    step: int
    only: tuple[Size, ...] | None = None

    def check(self, size: Size) -> None:
        """ValueError for any other."""
        if self.only is not None and size not in self.only:
            raise ValueError(f"size: got {size}, expected one of {list(self.only)}")
        if any(side < 1 or side % self.step for side in size):
            raise ValueError(f"size: got {size}, expected a height and a width that divide by {self.step}")


class UNetModel:
    """A member made of a U-Net, what tells it, its space and schedule; see `pangu.fusion_request.FusionModel`.

    num_conditions: the ControlNets' images, after one that the U-Net itself is shown where it takes one.
    """

    def __init__(
        self,
        *,
        unet_at: Callable[[float], Any],
        tell: TellRows,
        space: GridSpace,
        schedule: NoiseSchedule,
        prediction_type: PredictionType,
        default_size: Size,
        controlnets: Sequence[Any] = (),
        shown: bool = False,
        beside: Callable[[Sequence[UInt8Images], Size], Tensor] | None = None,
        sizes: Sequence[Size] | None = None,
    ) -> None:
        """unet_at: timestep to its U-Net. shown: whether rows carry an image for the U-Net itself, before the controls'.
        beside: makes of those images the channels behind the latents. sizes: the only ones it can draw.
        """
        self.unet_at, self.tell, self.space = unet_at, tell, space
        self.schedule, self.prediction_type = schedule, prediction_type
        self.default_size, self.controlnets = default_size, tuple(controlnets)
        self.beside = beside
        self.num_conditions = len(self.controlnets) + shown
        config = unet_at(0).config
        step = space.factor * 2 ** (len(config.block_out_channels) - 1)
        self.accepted = AcceptedSizes(step, None if sizes is None else tuple(sizes))

    def check_size(self, size: Size) -> None:
        """See `FusionModel`."""
        self.accepted.check(size)

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        device: torch.device = next(self.unet_at(0).parameters()).device
        return device

    def told(self, rows: Sequence[Told], size: Size) -> PromptedModel:
        """See `FusionModel`."""
        null, prompt = self.tell(rows, size)
        first = self.num_conditions - len(self.controlnets)
        dtype = next(self.unet_at(0).parameters()).dtype
        controls = tuple(
            image_batch([row.condition_images[place] for row in rows], size).to(self.device, dtype)
            for place in range(first, self.num_conditions)
        )
        scales = rows[0].condition_scales[first:] or (1.0,) * len(self.controlnets)
        beside = None
        if self.beside is not None:
            beside = self.beside([row.condition_images[0] for row in rows], size).to(self.device)
        told = ToldRows(
            null=_on(null, self.device, dtype),
            prompt=_on(prompt, self.device, dtype),
            guidance=rows[0].guidance,
            controls=controls,
            control_scales=scales,
            beside=beside,
        )
        denoise = ToldUNet(self.unet_at, self.controlnets, told, self.schedule, self.prediction_type)
        return PromptedModel(denoise, self.space, self.schedule, size, self.device)


def image_batch(images: Sequence[UInt8Images], size: Size) -> Tensor:
    """Condition images (H, W, 3) uint8 of any sizes as (B, 3, height, width) float32 in [0, 1]."""
    resized = [
        image
        if image.shape[:2] == size
        else np.asarray(Image.fromarray(image).resize((size[1], size[0]), Image.Resampling.BICUBIC))
        for image in images
    ]
    return torch.from_numpy(np.stack(resized)).permute(0, 3, 1, 2).float() / 255


def experts_model(pipeline: PanGuDrawPipeline, controlnets: Sequence[Any] = ()) -> UNetModel:
    """The expert pair as a member: t chooses the expert, the size, of either column, the row of the bucket table."""
    split, buckets = pipeline.card.split, pipeline.card.buckets
    rows_of = {size: bucket.index for bucket in buckets for size in (bucket.texture, bucket.structure)}
    experts = {Role.STRUCTURE: pipeline.structure, Role.TEXTURE: pipeline.texture}
    square = min(buckets, key=lambda bucket: abs(np.log(bucket.structure[0] / bucket.structure[1])))

    def tell(rows: Sequence[Told], size: Size) -> Branches:
        return tell_words(pipeline.text, rows, rows_of[size])

    return UNetModel(
        unet_at=lambda t: experts[split.expert_at(t)],
        tell=tell,
        space=AutoencoderSpace(pipeline.vae),
        schedule=pipeline.schedule,
        prediction_type=PredictionType(pipeline.card.structure.prediction_type),
        default_size=square.structure,
        controlnets=controlnets,
        sizes=tuple(rows_of),
    )


def single_unet_model(
    unet: Any,  # noqa: ANN401  (a U-Net with the added vector of `pangu.networks`)
    space: GridSpace,
    told_by: TextEncoder | ClipImageEncoder,
    default_size: Size,
    prediction_type: PredictionType,
    schedule: NoiseSchedule | None = None,
) -> UNetModel:
    """One U-Net of this repository's shape, told words or shown a picture, on the whole time axis."""

    def tell(rows: Sequence[Told], size: Size) -> Branches:
        del size
        if isinstance(told_by, ClipImageEncoder):
            features = told_by.encode([row.condition_images[0] for row in rows])
            null = TextFeatures(torch.zeros_like(features.tokens), torch.zeros_like(features.pooled))
            return _branch(null, SQUARE_BUCKET), _branch(features, SQUARE_BUCKET)
        return tell_words(told_by, rows, SQUARE_BUCKET)

    return UNetModel(
        unet_at=lambda t: unet,
        tell=tell,
        space=space,
        schedule=schedule or NoiseSchedule(),
        prediction_type=prediction_type,
        default_size=default_size,
        shown=isinstance(told_by, ClipImageEncoder),
    )


SQUARE_BUCKET = 5
"""The row of the paper's table that single U-Nets are trained with."""


def tell_words(encoder: TextEncoder, rows: Sequence[Told], bucket: int) -> Branches:
    """Negative and prompt of every row as the two branches."""
    null, prompt = encoder.encode([row.negative for row in rows]), encoder.encode([row.prompt for row in rows])
    return _branch(null, bucket), _branch(prompt, bucket)


def _branch(features: TextFeatures, bucket: int) -> Branch:
    buckets = torch.full((len(features.pooled),), bucket)
    return Branch(
        {"encoder_hidden_states": features.tokens, "class_labels": added_vector(features.pooled, buckets)},
    )


def _on(branch: Branch, device: torch.device, dtype: torch.dtype) -> Branch:
    arguments = {name: value.to(device, dtype) for name, value in branch.arguments.items()}
    return Branch(arguments, {name: value.to(device, dtype) for name, value in branch.added.items()})
