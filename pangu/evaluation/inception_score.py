"""Inception score: how sure a classifier is of each image and how varied the images are together.

IS = exp( mean_i KL( p(y | x_i) || p(y) ) )        (arXiv 1606.03498, sec. 4)
"""

import itertools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pangu.evaluation.intervals import Interval, block_interval, bootstrap_counts, percentile_interval

Float64Array = NDArray[np.float64]

# The published convention needs 5,000 images a split to be worth its name at 10 splits of 50,000.
MIN_IMAGES_FOR_SPLITS = 5000


def inception_score(logits: NDArray[Any], *, num_splits: int = 10, seed: int = 2020) -> tuple[float, float]:
    """Return mean and spread of the score over `num_splits`, shuffled and cut as torch-fidelity does it.

    logits: (N, C), before the softmax.
    """
    _check(logits, num_splits)
    shuffled = logits[np.random.RandomState(seed).permutation(len(logits))]
    probabilities = softmax(shuffled)
    bounds = [index * len(logits) // num_splits for index in range(num_splits + 1)]
    scores = np.asarray([_score(probabilities[start:stop]) for start, stop in itertools.pairwise(bounds)])
    return float(scores.mean()), float(scores.std())


def inception_interval(
    logits: NDArray[Any], *, level: float = 0.95, num_resamples: int = 500, seed: int = 0
) -> Interval:
    """Return the score with an interval: ten splits from 5,000 images on, else one split and a bootstrap over images.

    A bootstrap repeats images, which lowers their variety, so its percentiles lie low; the interval is therefore
    the spread of the copies laid round the value.
    """
    _check(logits, 1)
    if len(logits) >= MIN_IMAGES_FOR_SPLITS:
        shuffled = logits[np.random.RandomState(2020).permutation(len(logits))]
        return block_interval(np.asarray([_score(softmax(part)) for part in np.array_split(shuffled, 10)]), level=level)
    probabilities = softmax(logits)
    value = _score(probabilities)
    weights = bootstrap_counts(len(logits), num_resamples=num_resamples, seed=seed) / len(logits)
    marginals = weights @ probabilities
    divergences = weights @ _plogp(probabilities).sum(axis=1) - _plogp(marginals).sum(axis=1)
    copies = np.exp(divergences)
    return percentile_interval(value, copies - copies.mean() + value, level=level)


def softmax(logits: NDArray[Any]) -> Float64Array:
    """Return the class probabilities of each row: (N, C) float64."""
    values = logits.astype(np.float64)
    values -= values.max(axis=1, keepdims=True)
    exponentials = np.exp(values)
    probabilities: Float64Array = exponentials / exponentials.sum(axis=1, keepdims=True)
    return probabilities


def _score(probabilities: Float64Array) -> float:
    """Return exp of the mean divergence from the marginal; the marginal entropy less the mean entropy."""
    marginal = probabilities.mean(axis=0)
    return float(np.exp(_plogp(probabilities).sum(axis=1).mean() - _plogp(marginal).sum()))


def _plogp(probabilities: Float64Array) -> Float64Array:
    """Return p log p with 0 log 0 = 0."""
    product: Float64Array = probabilities * np.log(np.where(probabilities > 0.0, probabilities, 1.0))
    return product


def _check(logits: NDArray[Any], num_splits: int) -> None:
    """Refuse what has no score."""
    if logits.ndim != 2 or logits.shape[1] < 2:
        raise ValueError(f"logits: received shape {logits.shape}, accepted: (N, C) with C >= 2")
    if not 1 <= num_splits <= len(logits):
        raise ValueError(f"num_splits: received {num_splits}, accepted: 1 to {len(logits)}, the number of images")
