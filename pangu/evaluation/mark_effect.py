"""What a watermark does to the pictures, by the kernel distance, from the same images with and without it."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pangu.evaluation.intervals import Interval, normal_interval
from pangu.evaluation.kernel import Kernel, cubic_kernel, squared_mmd

Float64Array = NDArray[np.float64]


@dataclass(frozen=True)
class MarkEffect:
    """between: the KID of marked against unmarked images, 0 for a mark that the network cannot see.

    on_reference: KID(marked, reference) - KID(unmarked, reference), the mark's price in the published number; None
    without a reference. num_images: how many pairs.
    """

    between: Interval
    on_reference: Interval | None
    num_images: int


def mark_effect(
    unmarked: NDArray[Any],
    marked: NDArray[Any],
    *,
    reference: NDArray[Any] | None = None,
    kernel: Kernel = cubic_kernel,
    level: float = 0.95,
) -> MarkEffect:
    """Return the mark's effect with paired intervals; row i of both (N, D) is one and the same image, N >= 4.

    Pairing takes the pictures' own differences out: the intervals are those of the mark alone. reference (M, D) is
    taken as given.
    """
    if unmarked.ndim != 2 or unmarked.shape != marked.shape or len(unmarked) < 4:
        received = f"{unmarked.shape} and {marked.shape}"
        raise ValueError(f"marked: received shapes {received}, accepted: equal (N, D) with N >= 4, row by row")
    own, other, cross = kernel(unmarked, unmarked), kernel(marked, marked), kernel(unmarked, marked)
    between = _paired_interval(own + other - cross - cross.T, level)
    on_reference = None
    if reference is not None:
        value = squared_mmd(marked, reference, kernel) - squared_mmd(unmarked, reference, kernel)
        shares = 2.0 * (_row_means(other) - _row_means(own))
        shares -= 2.0 * (kernel(marked, reference).mean(axis=1) - kernel(unmarked, reference).mean(axis=1))
        on_reference = normal_interval(value, float(shares.var(ddof=1)) / len(shares), level=level)
    return MarkEffect(between, on_reference, len(unmarked))


def _paired_interval(pairs: Float64Array, level: float) -> Interval:
    """Return the mean of h over pairs of different images, and its interval.

    h((x, y), (x', y')) = k(x, x') + k(y, y') - k(x, y') - k(y, x') is an inner product of what the mark did to two
    images; its mean is the unbiased squared MMD, a U-statistic of one sample of N pairs. Its variance is 4 z / N and a
    term of second order, of which the spread of the row means holds twice. Source: Hoeffding 1948.
    """
    count = len(pairs)
    rest = pairs.copy()
    np.fill_diagonal(rest, 0.0)
    means = rest.sum(axis=1) / (count - 1)
    value = float(means.mean())
    rest -= means + means[:, None] - value
    np.fill_diagonal(rest, 0.0)
    pair_variance = float((rest**2).sum()) / (count * (count - 1))
    variance = 4.0 * float(means.var(ddof=1)) / count - 2.0 * pair_variance / count**2
    # Without any effect the first order is 0 and its estimate may be negative: the second order is what remains.
    return normal_interval(value, max(variance, 2.0 * pair_variance / count**2), level=level)


def _row_means(kernel: Float64Array) -> Float64Array:
    """Return each image's mean over the others: (N,)."""
    means: Float64Array = (kernel.sum(axis=1) - np.diagonal(kernel)) / (len(kernel) - 1)
    return means
