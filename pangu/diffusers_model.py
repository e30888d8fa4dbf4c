"""Pipelines of diffusers as fusion members: SD 1.x, SDXL, both with ControlNets, image variation, depth to image.

Only the parts of a pipeline are used (its encoders, U-Net, ControlNets, autoencoder, the scheduler's noise levels), never
its loop. What a pipeline has beyond them, such as a safety checker or an IP adapter, does not run.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pangu.autoencoder import UInt8Images
from pangu.denoiser import PredictionType
from pangu.fusion_request import Told
from pangu.latent_bridge import AutoencoderSpace, Size
from pangu.noise_schedule import schedule_of
from pangu.told_unet import Branch
from pangu.unet_model import Branches, TellRows, UNetModel, image_batch

KINDS = (
    "StableDiffusionPipeline",
    "StableDiffusionControlNetPipeline",
    "StableDiffusionXLPipeline",
    "StableDiffusionXLControlNetPipeline",
    "StableDiffusionImageVariationPipeline",
    "StableDiffusionDepth2ImgPipeline",
)


def diffusers_model(pipeline: Any, controlnets: Sequence[Any] = ()) -> UNetModel:  # noqa: ANN401
    """A pipeline of one of `KINDS` as a member. controlnets: more of them, behind the pipeline's own.

    Raises:
        ValueError: another kind of pipeline, or a U-Net or scheduler that fusion does not know.
    """
    kind = type(pipeline).__name__
    if kind not in KINDS:
        raise ValueError(f"pipeline: got {kind}, expected one of {', '.join(KINDS)}")
    if pipeline.unet.config.time_cond_proj_dim is not None:
        raise ValueError(f"time_cond_proj_dim: got {pipeline.unet.config.time_cond_proj_dim}, expected none")
    own = getattr(pipeline, "controlnet", None)
    nets = [] if own is None else list(getattr(own, "nets", [own]))
    is_depth, is_variation = kind == KINDS[5], kind == KINDS[4]
    space = AutoencoderSpace(pipeline.vae)
    side = int(pipeline.unet.config.sample_size) * space.factor
    return UNetModel(
        unet_at=lambda t: pipeline.unet,
        tell=_teller(pipeline, kind),
        space=space,
        schedule=schedule_of(pipeline.scheduler),
        prediction_type=PredictionType(pipeline.scheduler.config.prediction_type),
        default_size=(side, side),
        controlnets=[*nets, *controlnets],
        shown=is_depth or is_variation,
        beside=_depth_beside(space.factor) if is_depth else None,
    )


def _teller(pipeline: Any, kind: str) -> TellRows:  # noqa: ANN401
    if kind in KINDS[2:4]:
        return lambda rows, size: _tell_sdxl(pipeline, rows, size)
    if kind == KINDS[4]:
        return lambda rows, size: _show(pipeline, rows)
    return lambda rows, size: _tell_sd(pipeline, rows)


def _tell_sd(pipeline: Any, rows: Sequence[Told]) -> Branches:  # noqa: ANN401
    with torch.no_grad():
        prompt, null = pipeline.encode_prompt(
            [row.prompt for row in rows], pipeline.device, 1, True, [row.negative for row in rows]
        )
    return Branch({"encoder_hidden_states": null}), Branch({"encoder_hidden_states": prompt})


def _tell_sdxl(pipeline: Any, rows: Sequence[Told], size: Size) -> Branches:  # noqa: ANN401
    """Beside the texts, the size of the picture as original and as target, and no crop.

    A pipeline that takes zeros for an empty negative does so here as soon as all are empty, as in its own call.
    """
    negatives: list[str] | None = [row.negative for row in rows]
    if pipeline.config.force_zeros_for_empty_prompt and not any(negatives or ()):
        negatives = None
    with torch.no_grad():
        prompt, null, pooled, null_pooled = pipeline.encode_prompt(
            [row.prompt for row in rows], device=pipeline.device, negative_prompt=negatives
        )
    times = pipeline._get_add_time_ids(
        size, (0, 0), size, dtype=prompt.dtype, text_encoder_projection_dim=pooled.shape[-1]
    ).repeat(len(rows), 1)

    def branch(tokens: Tensor, vector: Tensor) -> Branch:
        return Branch({"encoder_hidden_states": tokens}, {"text_embeds": vector, "time_ids": times})

    return branch(null, null_pooled), branch(prompt, pooled)


def _show(pipeline: Any, rows: Sequence[Told]) -> Branches:  # noqa: ANN401
    """Image variation: the picture's embedding as the only token, zeros as the null."""
    pictures = [Image.fromarray(row.condition_images[0]) for row in rows]
    with torch.no_grad():
        null, shown = pipeline._encode_image(pictures, pipeline.device, 1, True).chunk(2)
    return Branch({"encoder_hidden_states": null}), Branch({"encoder_hidden_states": shown})


def _depth_beside(factor: int) -> Callable[[Sequence[UInt8Images], Size], Tensor]:
    """Depth maps, given as pictures (near is bright), as one channel of the latents' size, each stretched to [-1, 1]."""

    def beside(images: Sequence[UInt8Images], size: Size) -> Tensor:
        small = (size[0] // factor, size[1] // factor)
        grey = [np.asarray(Image.fromarray(image).convert("L").convert("RGB")) for image in images]
        depth = image_batch(grey, small)[:, :1]
        low, high = depth.amin((2, 3), keepdim=True), depth.amax((2, 3), keepdim=True)
        return 2 * (depth - low) / (high - low).clamp(min=1e-6) - 1

    return beside
