"""One loop for every feature network: images in their order, through batches of one fixed, padded shape.

A network gives a row other last bits in a batch of another size. With a padded last batch a picture's features depend
on the picture alone, so parts cut in any way give the same rows.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pangu.evaluation.features import ExtractorCard, ImageFeatures, UInt8Image, check_images

Forward = Callable[[Tensor], tuple[Tensor, Tensor | None]]


@torch.inference_mode()
def extract_in_batches(
    images: Sequence[UInt8Image],
    *,
    card: ExtractorCard,
    prepare: Callable[[UInt8Image], NDArray[Any] | Tensor],
    forward: Forward,
    batch_size: int,
    device: str = "cpu",
    num_logits: int | None = None,
) -> ImageFeatures:
    """Return the features of `images`, in their order.

    prepare: one image (H, W, 3) uint8 to the network's own input, equal shapes for all. forward: a batch of those on
    `device` to features (B, D) and logits (B, num_logits), or to features and None.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size: received {batch_size}, accepted: 1 or more")
    check_images(images)
    features = np.empty((len(images), card.num_dims), dtype=np.float32)
    logits = None if num_logits is None else np.empty((len(images), num_logits), dtype=np.float32)
    for start in range(0, len(images), batch_size):
        taken = [torch.as_tensor(prepare(image)) for image in images[start : start + batch_size]]
        rows = slice(start, start + len(taken))
        padded = torch.stack(taken + [taken[0]] * (batch_size - len(taken)))
        found, scores = forward(padded.to(device))
        features[rows] = found[: len(taken)].float().cpu().numpy()
        if logits is not None and scores is not None:
            logits[rows] = scores[: len(taken)].float().cpu().numpy()
    return ImageFeatures(card, features, logits)
