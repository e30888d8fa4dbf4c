"""Mean and covariance of features in float64, mergeable across workers and parts."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Float64Array = NDArray[np.float64]


@dataclass(frozen=True)
class FeatureStatistics:
    """What a Frechet distance needs of N feature vectors of D dimensions.

    count: N. mean: (D,) float64. scatter: (D, D) float64, the sum of centred outer products.
    """

    count: int
    mean: Float64Array
    scatter: Float64Array

    @property
    def num_dims(self) -> int:
        """D, the feature dimensions."""
        return int(self.mean.shape[0])

    @property
    def covariance(self) -> Float64Array:
        """(D, D) float64 with N - 1 in the denominator, as numpy.cov has it."""
        if self.count < 2:
            raise ValueError(f"count: received {self.count}, accepted: 2 or more for a covariance")
        return self.scatter / (self.count - 1)


def feature_statistics(features: NDArray[Any]) -> FeatureStatistics:
    """Return the statistics of `features` (N, D), summed in float64 whatever their type."""
    if features.ndim != 2 or len(features) == 0:
        raise ValueError(f"features: received shape {features.shape}, accepted: (N, D) with N >= 1")
    values = features.astype(np.float64)
    mean = values.mean(axis=0)
    values -= mean
    return FeatureStatistics(count=len(features), mean=mean, scatter=values.T @ values)


def merge_statistics(parts: Iterable[FeatureStatistics]) -> FeatureStatistics:
    """Return the statistics of all parts together; give the parts in a fixed order for equal bits.

    Source: Chan, Golub & LeVeque 1979, the pairwise update of means and scatters.
    """
    merged: FeatureStatistics | None = None
    for part in parts:
        merged = part if merged is None else _merge(merged, part)
    if merged is None:
        raise ValueError("parts: received none, accepted: 1 or more")
    return merged


def _merge(left: FeatureStatistics, right: FeatureStatistics) -> FeatureStatistics:
    """Return the statistics of two disjoint sets."""
    if left.num_dims != right.num_dims:
        raise ValueError(f"parts: received {left.num_dims} and {right.num_dims} dimensions, accepted: equal ones")
    count = left.count + right.count
    shift = right.mean - left.mean
    scatter = left.scatter + right.scatter + np.outer(shift, shift) * (left.count * right.count / count)
    return FeatureStatistics(count=count, mean=left.mean + shift * (right.count / count), scatter=scatter)
