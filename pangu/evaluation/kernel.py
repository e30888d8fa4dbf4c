"""Kernel distances between sets of features: the unbiased squared MMD with KID's cubic or CMMD's Gaussian kernel.

MMD^2 = mean k(x, x') + mean k(y, y') - 2 mean k(x, y), without the pairs of a point with itself. It may be slightly
negative: that is what unbiased means. KID: k = (x'y / D + 1)^3, arXiv 1801.01401, sec. 4. CMMD: k = exp(-|x-y|^2 /
(2 sigma^2)) on unit vectors with sigma = 10, times 1000, arXiv 2401.09603, sec. 5.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pangu.evaluation.intervals import Interval, block_interval, normal_interval

Float64Array = NDArray[np.float64]
Kernel = Callable[[NDArray[Any], NDArray[Any]], Float64Array]

# Above this the three full kernel matrices stop fitting comfortably (3 x 128 MiB in float64).
MAX_WHOLE_SET = 4096
CMMD_SIGMA = 10.0
CMMD_SCALE = 1000.0


def cubic_kernel(first: NDArray[Any], second: NDArray[Any]) -> Float64Array:
    """Return k(x, y) for every pair: (N_1, N_2) float64."""
    product = first.astype(np.float64) @ second.astype(np.float64).T
    base = product / first.shape[1] + 1.0
    kernel: Float64Array = base * base * base
    return kernel


def gaussian_kernel_of_directions(first: NDArray[Any], second: NDArray[Any]) -> Float64Array:
    """Return 1000 exp(-|x - y|^2 / 200) for every pair of L2-normalised rows: (N_1, N_2) float64."""
    cosines = _directions(first) @ _directions(second).T
    kernel: Float64Array = CMMD_SCALE * np.exp((cosines - 1.0) / CMMD_SIGMA**2)
    return kernel


def squared_mmd(first: NDArray[Any], second: NDArray[Any], kernel: Kernel = cubic_kernel) -> float:
    """Return the unbiased squared MMD of two sets of features (N_1, D), (N_2, D)."""
    _check(first, second)
    return (
        _unbiased_mean(kernel(first, first))
        + _unbiased_mean(kernel(second, second))
        - 2.0 * float(kernel(first, second).mean())
    )


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
    kernel: Kernel = cubic_kernel,
    level: float = 0.95,
    block_size: int = 1000,
    seed: int = 0,
) -> Interval:
    """Return the unbiased squared MMD with an interval over both sets.

    Sets up to MAX_WHOLE_SET are used whole, every pair once, with the variance of the U-statistic; larger ones are cut
    into disjoint blocks, whose values are independent (arXiv 1307.1954, the B-test).
    """
    _check(generated, reference)
    if max(len(generated), len(reference)) <= MAX_WHOLE_SET:
        own, other = kernel(generated, generated), kernel(reference, reference)
        return _whole_set_interval(own, other, kernel(generated, reference), level)
    rng = np.random.default_rng(seed)
    num_blocks = max(1, min(len(generated), len(reference)) // block_size)
    pairs = zip(
        np.array_split(rng.permutation(len(generated)), num_blocks),
        np.array_split(rng.permutation(len(reference)), num_blocks),
        strict=True,
    )
    blocks = [squared_mmd(generated[one], reference[other], kernel) for one, other in pairs]
    return block_interval(np.asarray(blocks), level=level)


def _whole_set_interval(own: Float64Array, other: Float64Array, cross: Float64Array, level: float) -> Interval:
    """Return the value of the kernel matrices (N, N), (M, M), (N, M) and its interval.

    The variance of a two-sample U-statistic of degree 2 is 4 z_1 / N + 4 z_2 / M plus terms of second order, with z the
    variance of a point's expected share. The variance of a point's *mean* share holds twice the second order of pairs
    within a set and twice that of pairs across, so these are taken off once. Source: Hoeffding 1948; the same
    decomposition for the MMD in arXiv 1611.04488, app. A.
    """
    value = _unbiased_mean(own) + _unbiased_mean(other) - 2.0 * float(cross.mean())
    first, second = cross.shape
    if min(first, second) < 4:
        return Interval(value, float("nan"), float("nan"))
    shares_first = _row_means(own) - cross.mean(axis=1)
    shares_second = _row_means(other) - cross.mean(axis=0)
    variance = 4.0 * shares_first.var(ddof=1) / first + 4.0 * shares_second.var(ddof=1) / second
    crossed = cross - cross.mean(axis=0) - cross.mean(axis=1, keepdims=True) + cross.mean()
    crossed_variance = float((crossed**2).sum()) / ((first - 1) * (second - 1))
    second_order = 2.0 * _pair_variance(own) / first**2 + 2.0 * _pair_variance(other) / second**2
    second_order += 4.0 * crossed_variance / (first * second)
    # Of alike sets nothing but the second order is left, and the estimate of the first may fall below 0.
    return normal_interval(value, max(float(variance) - second_order, second_order), level=level)


def _row_means(kernel: Float64Array) -> Float64Array:
    """Return each point's mean over the other points of its own set: (N,)."""
    means: Float64Array = (kernel.sum(axis=1) - np.diagonal(kernel)) / (len(kernel) - 1)
    return means


def _pair_variance(kernel: Float64Array) -> float:
    """Return the variance of a pair's value that its two points do not explain by themselves."""
    means = _row_means(kernel)
    rest = kernel - means - means[:, None] + means.mean()
    np.fill_diagonal(rest, 0.0)
    return float((rest**2).sum()) / (len(kernel) * (len(kernel) - 1))


def _unbiased_mean(kernel: Float64Array) -> float:
    """Return the mean of a square kernel matrix without its diagonal."""
    size = len(kernel)
    return float((kernel.sum() - np.trace(kernel)) / (size * (size - 1)))


def _directions(features: NDArray[Any]) -> Float64Array:
    """Return the rows divided by their lengths."""
    values = features.astype(np.float64)
    lengths = np.linalg.norm(values, axis=1, keepdims=True)
    if not (lengths > 0.0).all():
        raise ValueError("features: received a row of length 0, accepted: rows of positive length")
    directions: Float64Array = values / lengths
    return directions


def _check(first: NDArray[Any], second: NDArray[Any]) -> None:
    """Refuse sets that cannot be compared."""
    if first.ndim != 2 or second.ndim != 2 or first.shape[1] != second.shape[1]:
        raise ValueError(f"features: received shapes {first.shape} and {second.shape}, accepted: (N, D) with equal D")
    if min(len(first), len(second)) < 2:
        raise ValueError(f"features: received {len(first)} and {len(second)} rows, accepted: 2 or more of each")
