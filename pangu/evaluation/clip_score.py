"""CLIP score: how well images agree with their prompts, from embeddings that the caller made with a named model."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pangu.evaluation.intervals import Interval, bootstrap_mean


def clip_scores(image_embeddings: NDArray[Any], text_embeddings: NDArray[Any]) -> NDArray[np.float64]:
    """Return 100 max(cos, 0) for every pair: (N,) float64 in [0, 100]. Source: arXiv 2104.08718, with w = 100.

    Both embeddings: (N, E); any length, they are normalised here.
    """
    if image_embeddings.ndim != 2 or image_embeddings.shape != text_embeddings.shape:
        raise ValueError(
            f"embeddings: received shapes {image_embeddings.shape} and {text_embeddings.shape}, accepted: equal (N, E)"
        )
    images, texts = image_embeddings.astype(np.float64), text_embeddings.astype(np.float64)
    lengths = np.linalg.norm(images, axis=1) * np.linalg.norm(texts, axis=1)
    if not (np.isfinite(lengths).all() and (lengths > 0).all()):
        raise ValueError("embeddings: received a zero or non-finite row, accepted: finite rows of positive length")
    scores: NDArray[np.float64] = 100.0 * np.clip((images * texts).sum(axis=1) / lengths, 0.0, None)
    return scores


def clip_score(
    image_embeddings: NDArray[Any], text_embeddings: NDArray[Any], *, level: float = 0.95, seed: int = 0
) -> Interval:
    """Return the mean CLIP score with its bootstrap interval over images."""
    return bootstrap_mean(clip_scores(image_embeddings, text_embeddings), level=level, seed=seed)
