"""Intervals round a metric: seeded bootstrap, jackknife over groups, and Student's t over blocks.

Every random draw comes from a seed that the caller names, so one set of images has one interval.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

FloatArray = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Interval:
    """A value with its two-sided bounds; `low <= high`, and both are NaN where no interval can be given."""

    value: float
    low: float
    high: float


def bootstrap_counts(num_items: int, *, num_resamples: int, seed: int) -> NDArray[np.float64]:
    """Return how often each item was drawn: (num_resamples, num_items) float64, every row sums to `num_items`."""
    if num_items < 1:
        raise ValueError(f"num_items: received {num_items}, accepted: 1 or more")
    probabilities = np.full(num_items, 1.0 / num_items)
    counts = np.random.default_rng(seed).multinomial(num_items, probabilities, size=num_resamples)
    return counts.astype(np.float64)


def percentile_interval(value: float, resampled: FloatArray, *, level: float = 0.95) -> Interval:
    """Return `value` between the percentiles of its resampled copies."""
    if not 0.0 < level < 1.0:
        raise ValueError(f"level: received {level}, accepted: between 0 and 1")
    tail = 50.0 * (1.0 - level)
    low, high = np.percentile(resampled, [tail, 100.0 - tail])
    return Interval(float(value), float(low), float(high))


def bootstrap_mean(values: FloatArray, *, level: float = 0.95, num_resamples: int = 1000, seed: int = 0) -> Interval:
    """Return the mean of `values` (N,) with its bootstrap interval; a single value has no interval."""
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 1 or len(values) == 0:
        raise ValueError(f"values: received shape {values.shape}, accepted: (N,) with N >= 1")
    mean = float(values.mean())
    if len(values) == 1:
        return Interval(mean, float("nan"), float("nan"))
    return percentile_interval(mean, bootstrap_means(values, num_resamples=num_resamples, seed=seed), level=level)


def bootstrap_means(values: FloatArray, *, num_resamples: int = 1000, seed: int = 0) -> NDArray[np.float64]:
    """Return the means of `num_resamples` draws with replacement from `values` (N,): (num_resamples,)."""
    # Resampled in slices: the draws of 50,000 values would take 400 MB at once.
    rng = np.random.default_rng(seed)
    return np.concatenate(
        [
            values[rng.integers(0, len(values), size=(rows, len(values)))].mean(axis=1, dtype=np.float64)
            for rows in _slices(num_resamples, rows_at_once=max(1, 4_000_000 // len(values)))
        ]
    )


def _slices(total: int, *, rows_at_once: int) -> list[int]:
    """Return slice lengths of at most `rows_at_once` that add up to `total`."""
    whole, rest = divmod(total, rows_at_once)
    return [rows_at_once] * whole + ([rest] if rest else [])


def jackknife_interval(value: float, leave_one_out: FloatArray, *, level: float = 0.95) -> Interval:
    """Return `value` with an interval from copies that each leave one of G equal groups out.

    A bootstrap draws the same image twice and so biases a Frechet distance upward; leaving groups out does not.
    Source: Efron & Tibshirani, An Introduction to the Bootstrap, ch. 11 (delete-group jackknife).
    """
    copies = np.asarray(leave_one_out, dtype=np.float64)
    num_groups = len(copies)
    if num_groups < 2:
        return Interval(float(value), float("nan"), float("nan"))
    variance = (num_groups - 1) / num_groups * float(((copies - copies.mean()) ** 2).sum())
    half_width = float(stats.t.ppf(0.5 + level / 2, num_groups - 1)) * variance**0.5
    return Interval(float(value), float(value) - half_width, float(value) + half_width)


def block_interval(blocks: FloatArray, *, level: float = 0.95) -> Interval:
    """Return the mean of independent block values (B,) with Student's t interval."""
    blocks = np.asarray(blocks, dtype=np.float64)
    mean = float(blocks.mean())
    if len(blocks) < 2:
        return Interval(mean, float("nan"), float("nan"))
    half_width = float(stats.t.ppf(0.5 + level / 2, len(blocks) - 1)) * float(blocks.std(ddof=1)) / len(blocks) ** 0.5
    return Interval(mean, mean - half_width, mean + half_width)


def normal_interval(value: float, variance: float, *, level: float = 0.95) -> Interval:
    """Return `value` with the interval of a normal error of this variance; a negative estimate counts as 0."""
    if not 0.0 < level < 1.0:
        raise ValueError(f"level: received {level}, accepted: between 0 and 1")
    half_width = float(stats.norm.ppf(0.5 + level / 2)) * max(variance, 0.0) ** 0.5
    return Interval(float(value), float(value) - half_width, float(value) + half_width)


def rate_interval(hits: int, total: int, *, level: float = 0.95) -> Interval:
    """Return the share hits / total with Wilson's interval, which is right at 0 and at 1 too, where a bootstrap is not."""
    if not 0 <= hits <= total or total < 1:
        raise ValueError(f"hits: received {hits} of {total}, accepted: 0 to the total, which is 1 or more")
    share, z = hits / total, float(stats.norm.ppf(0.5 + level / 2))
    centre = (share + z**2 / (2 * total)) / (1 + z**2 / total)
    half_width = z / (1 + z**2 / total) * (share * (1 - share) / total + z**2 / (4 * total**2)) ** 0.5
    low = 0.0 if hits == 0 else centre - half_width
    return Interval(share, low, 1.0 if hits == total else centre + half_width)
