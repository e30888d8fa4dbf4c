"""Kernel distance (KID): the unbiased squared MMD with a cubic kernel, meaningful where a Frechet distance is not.

k(x, y) = (x'y / D + 1)^3; KID = mean k(x, x') + mean k(y, y') - 2 mean k(x, y), without the pairs of a point with
itself. Source: arXiv 1801.01401, sec. 4. It may be slightly negative: that is what unbiased means.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pangu.evaluation.intervals import Interval, block_interval, bootstrap_counts, percentile_interval

Float64Array = NDArray[np.float64]

# Above this the three full kernel matrices stop fitting comfortably (3 x 128 MiB in float64).
MAX_WHOLE_SET = 4096


def cubic_kernel(first: NDArray[Any], second: NDArray[Any]) -> Float64Array:
    """Return k(x, y) for every pair: (N_1, N_2) float64."""
    product = first.astype(np.float64) @ second.astype(np.float64).T
    kernel: Float64Array = (product / first.shape[1] + 1.0) ** 3
    return kernel


def squared_mmd(first: NDArray[Any], second: NDArray[Any]) -> float:
    """Return the unbiased squared MMD of two sets of features (N_1, D), (N_2, D)."""
    _check(first, second)
    return (
        _unbiased_mean(cubic_kernel(first, first))
        + _unbiased_mean(cubic_kernel(second, second))
        - 2.0 * float(cubic_kernel(first, second).mean())
    )


def _unbiased_mean(kernel: Float64Array) -> float:
    """Return the mean of a square kernel matrix without its diagonal."""
    size = len(kernel)
    return float((kernel.sum() - np.trace(kernel)) / (size * (size - 1)))


def _check(first: NDArray[Any], second: NDArray[Any]) -> None:
    """Refuse sets that cannot be compared."""
    if first.ndim != 2 or second.ndim != 2 or first.shape[1] != second.shape[1]:
        raise ValueError(f"features: received shapes {first.shape} and {second.shape}, accepted: (N, D) with equal D")
    if min(len(first), len(second)) < 2:
        raise ValueError(f"features: received {len(first)} and {len(second)} rows, accepted: 2 or more of each")


def kernel_distance_of_subsets(
    first: NDArray[Any], second: NDArray[Any], *, num_subsets: int = 100, subset_size: int = 1000, seed: int = 2020
) -> tuple[float, float]:
    """Return mean and spread over random subsets, drawn as torch-fidelity draws them: the published convention.

    The spread is that of one subset, not of the mean; `kernel_interval` gives the honest interval.
    """
    _check(first, second)
    if not 2 <= subset_size <= min(len(first), len(second)):
        accepted = min(len(first), len(second))
        raise ValueError(f"subset_size: received {subset_size}, accepted: 2 to {accepted}")
    rng = np.random.RandomState(seed)
    values = np.empty(num_subsets)
    for index in range(num_subsets):
        one = first[rng.choice(len(first), subset_size, replace=False)]
        other = second[rng.choice(len(second), subset_size, replace=False)]
        values[index] = squared_mmd(one, other)
    return float(values.mean()), float(values.std())


def kernel_interval(
    generated: NDArray[Any],
    reference: NDArray[Any],
    *,
    level: float = 0.95,
    num_resamples: int = 200,
    block_size: int = 1000,
    seed: int = 0,
) -> Interval:
    """Return the unbiased squared MMD with an interval.

    Sets up to MAX_WHOLE_SET are used whole, every pair once, and both are bootstrapped; larger ones are cut into
    disjoint blocks, whose values are independent (arXiv 1307.1954, the B-test).
    """
    _check(generated, reference)
    if max(len(generated), len(reference)) <= MAX_WHOLE_SET:
        return _bootstrap_whole_sets(generated, reference, level=level, num_resamples=num_resamples, seed=seed)
    rng = np.random.default_rng(seed)
    num_blocks = max(1, min(len(generated), len(reference)) // block_size)
    pairs = zip(
        np.array_split(rng.permutation(len(generated)), num_blocks),
        np.array_split(rng.permutation(len(reference)), num_blocks),
        strict=True,
    )
    blocks = [squared_mmd(generated[one], reference[other]) for one, other in pairs]
    return block_interval(np.asarray(blocks), level=level)


def _bootstrap_whole_sets(
    generated: NDArray[Any], reference: NDArray[Any], *, level: float, num_resamples: int, seed: int
) -> Interval:
    """Return the value of the whole sets and the percentiles of its weighted copies.

    A resample weighs the points instead of copying them, so a point met twice is never compared with itself.
    """
    own, other, cross = (
        cubic_kernel(generated, generated),
        cubic_kernel(reference, reference),
        cubic_kernel(generated, reference),
    )
    value = _unbiased_mean(own) + _unbiased_mean(other) - 2.0 * float(cross.mean())
    if min(len(generated), len(reference)) < 4:
        return Interval(value, float("nan"), float("nan"))
    own_counts = bootstrap_counts(len(generated), num_resamples=num_resamples, seed=seed)
    other_counts = bootstrap_counts(len(reference), num_resamples=num_resamples, seed=seed + 1)
    crossed = ((own_counts @ cross) * other_counts).sum(axis=1) / (len(generated) * len(reference))
    copies = _weighted_means(own, own_counts) + _weighted_means(other, other_counts) - 2.0 * crossed
    return percentile_interval(value, copies, level=level)


def _weighted_means(kernel: Float64Array, counts: Float64Array) -> Float64Array:
    """Return, for each row of counts (B, N), the weighted mean over pairs of different points: (B,)."""
    pairs = ((counts @ kernel) * counts).sum(axis=1) - (counts**2) @ np.diagonal(kernel)
    weights = counts.sum(axis=1) ** 2 - (counts**2).sum(axis=1)
    means: Float64Array = pairs / weights
    return means
