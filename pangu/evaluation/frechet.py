"""The Frechet distance between two Gaussians fitted to features, exact at full and at deficient rank.

d^2 = |mu_1 - mu_2|^2 + tr S_1 + tr S_2 - 2 tr (S_1 S_2)^(1/2)        (arXiv 1706.08500, eq. 6)

With S = F F' for both, tr (S_1 S_2)^(1/2) is the nuclear norm of F_1' F_2. That leaves a choice of factor F:
fewer samples than dimensions: the centred features themselves, so the matrix is (n_1, n_2) and no root of a rounded
zero is ever taken; full rank: the Cholesky factor of one side, then eigenvalues.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from pangu.evaluation.statistics import FeatureStatistics, feature_statistics

Float64Array = NDArray[np.float64]


def frechet_distance(first: FeatureStatistics, second: FeatureStatistics) -> float:
    """Return the squared Frechet distance of two sets known by their statistics."""
    if first.num_dims != second.num_dims:
        raise ValueError(f"features: received {first.num_dims} and {second.num_dims} dimensions, accepted: equal ones")
    first_covariance, second_covariance = first.covariance, second.covariance
    shift = first.mean - second.mean
    spread = float(np.trace(first_covariance) + np.trace(second_covariance))
    return float(shift @ shift) + spread - 2.0 * _root_trace(first_covariance, second_covariance)


def frechet_distance_of_features(first: NDArray[Any], second: NDArray[Any]) -> float:
    """Return the squared Frechet distance of two sets of features (N_1, D) and (N_2, D)."""
    check_feature_sets(first, second)
    if min(len(first), len(second)) > first.shape[1]:
        return frechet_distance(feature_statistics(first), feature_statistics(second))
    first_mean, first_factor = _centred_factor(first)
    second_mean, second_factor = _centred_factor(second)
    shift = first_mean - second_mean
    spread = float((first_factor**2).sum() + (second_factor**2).sum())
    # The Gram matrix is as small as the two sets, so its singular values cost next to nothing.
    nuclear_norm = float(linalg.svdvals(first_factor @ second_factor.T, check_finite=False).sum())
    return float(shift @ shift) + spread - 2.0 * nuclear_norm


def check_feature_sets(first: NDArray[Any], second: NDArray[Any]) -> None:
    """Refuse sets that cannot be compared."""
    if first.ndim != 2 or second.ndim != 2 or first.shape[1] != second.shape[1]:
        raise ValueError(f"features: received shapes {first.shape} and {second.shape}, accepted: (N, D) with equal D")
    if min(len(first), len(second)) < 2:
        raise ValueError(f"features: received {len(first)} and {len(second)} rows, accepted: 2 or more of each")


def _centred_factor(features: NDArray[Any]) -> tuple[Float64Array, Float64Array]:
    """Return the mean (D,) and the factor X (N, D) with X'X the covariance."""
    values = features.astype(np.float64)
    mean: Float64Array = values.mean(axis=0)
    values -= mean
    values /= (len(features) - 1) ** 0.5
    return mean, values


def _root_trace(first: Float64Array, second: Float64Array) -> float:
    """Return tr (S_1 S_2)^(1/2) of two covariance matrices (D, D)."""
    try:
        factor = linalg.cholesky(first, lower=True, check_finite=False)
    except linalg.LinAlgError:
        factor = _semidefinite_factor(first)
    eigenvalues = linalg.eigvalsh(factor.T @ second @ factor, check_finite=False)
    return float(np.sqrt(np.clip(eigenvalues, 0.0, None)).sum())


def _semidefinite_factor(covariance: Float64Array) -> Float64Array:
    """Return F (D, R) with F F' the covariance of rank R: what Cholesky cannot give where the rank is deficient."""
    eigenvalues, vectors = linalg.eigh(covariance, check_finite=False)
    floor = eigenvalues[-1] * len(eigenvalues) * np.finfo(np.float64).eps
    kept = eigenvalues > floor
    factor: Float64Array = vectors[:, kept] * np.sqrt(eigenvalues[kept])
    return factor
