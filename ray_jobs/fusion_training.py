"""What the small fusion members are trained with: sources of batches, encoded pictures, and who they are."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pangu.autoencoder import to_pixels
from pangu.batches import BatchPlan, TrainBatch
from pangu.bucket_conditioning import bucket_sizes
from pangu.checkpoint import ExpertIdentity
from pangu.control_training import ControlBatch
from pangu.denoiser import Conditioning, PredictionType
from pangu.networks import load_unet
from pangu.text_encoder import TextFeatures
from pangu.time_range import Role, TimeRange
from pangu.training_samples import LatentBatches

SQUARE = 5
"""The row of the bucket table that all of them are trained with."""


class FeatureBatches:
    """A `BatchSource` over latents and ready features, one to one."""

    def __init__(self, latents: Tensor, features: TextFeatures, batch_size: int, seed: int) -> None:
        """latents: (N, C, h, w); features: N rows."""
        self.latents, self.features = latents, features
        self.plan = BatchPlan([SQUARE] * len(latents), batch_size, seed)

    def batch(self, step: int) -> TrainBatch:
        """See `pangu.batches.BatchSource`."""
        chosen = self.plan.at(step).samples
        rows = torch.tensor(chosen)
        told = Conditioning(self.features.tokens[rows], self.features.pooled[rows], torch.full((len(rows),), SQUARE))
        return TrainBatch(self.latents[rows], told, torch.ones(len(rows)), 0, len(rows), chosen)


class ConditionBatches:
    """A `ControlBatchSource` over latents, captions and condition images, one to one."""

    def __init__(self, batches: LatentBatches, conditions: np.ndarray[Any, np.dtype[np.uint8]]) -> None:
        """batches: whose sample numbers are rows of `conditions` (N, H, W, 3) uint8."""
        self.batches, self.conditions = batches, conditions

    def batch(self, step: int) -> ControlBatch:
        """See `pangu.control_training.ControlBatchSource`."""
        found = self.batches.batch(step)
        chosen = self.conditions[np.array(found.samples)]
        conditions = torch.from_numpy(chosen).permute(0, 3, 1, 2).float() / 255
        return ControlBatch(found.latents, found.conditioning, conditions)


def encode_all(encode: Callable[[Tensor], Tensor], images: np.ndarray[Any, np.dtype[np.uint8]]) -> Tensor:
    """Latents of all pictures (N, H, W, 3) uint8, in bfloat16 arithmetic, as float32."""
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        parts = [encode(to_pixels(images[n : n + 64])).float() for n in range(0, len(images), 64)]
    return torch.cat(parts)


def start_from(unet: Any, folder: Path) -> None:  # noqa: ANN401
    """Copy the weights that agree in name and shape from another member's folder, where there is one."""
    if not (folder / "config.json").is_file():
        return
    found, own = load_unet(folder).state_dict(), unet.state_dict()
    same = {name: value.float() for name, value in found.items() if value.shape == own[name].shape}
    unet.load_state_dict(own | same)


def identity(side_px: int) -> ExpertIdentity:
    """One network for the whole time axis, predicting v, of pictures of this side."""
    return ExpertIdentity(
        role=Role.SHARED,
        time_range=TimeRange(start=0, stop=1000),
        prediction_type=PredictionType.V,
        buckets=bucket_sizes([{"index": n, "structure": [side_px] * 2, "texture": [side_px] * 2} for n in range(6)]),
    )
