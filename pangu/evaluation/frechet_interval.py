"""Intervals of the Frechet distance, and its extrapolation to infinitely many images.

At full rank the distance is smooth in both means and covariances, so to first order its error is a mean over images:

psi(x) = 2 (mu_1 - mu_2)'(x - mu_1) + (x - mu_1)'(I - T)(x - mu_1) - tr (I - T) S_1,    T S_1 T = S_2

with T the optimal map from the first Gaussian to the second. One eigendecomposition gives psi for every image, and a
bootstrap of its mean costs nothing beside it, where a bootstrap of the distance costs a decomposition a copy.
Sources: the derivative of tr (S_1 S_2)^(1/2), Olkin & Pukelsheim 1982; the infinitesimal jackknife, Jaeckel 1972.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from pangu.evaluation.frechet import check_feature_sets, frechet_distance, frechet_distance_of_features
from pangu.evaluation.intervals import Interval, bootstrap_means, jackknife_interval, percentile_interval
from pangu.evaluation.statistics import FeatureStatistics, feature_statistics

Float64Array = NDArray[np.float64]
MAX_PARTITIONS = 5


def frechet_interval(
    generated: NDArray[Any],
    reference: NDArray[Any],
    *,
    fixed_reference: bool = True,
    num_groups: int = 10,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Return the squared Frechet distance with an interval over the generated images, and over the reference if asked.

    It covers the sampling noise; it does not cover the bias that every small set has: `frechet_at_infinity` does.
    Twice as many images as dimensions and more: the linearised bootstrap. Fewer: a delete-group jackknife.
    """
    check_feature_sets(generated, reference)
    value = frechet_distance_of_features(generated, reference)
    if min(len(generated), len(reference)) >= 2 * generated.shape[1]:
        known = feature_statistics(reference)
        return _linearised_interval(value, generated, reference, known, fixed_reference, level=level, seed=seed)
    num_groups = min(num_groups, len(generated) // 2)
    if num_groups < 2:
        return Interval(value, float("nan"), float("nan"))
    groups = np.array_split(np.random.default_rng(seed).permutation(len(generated)), num_groups)
    copies = [frechet_distance_of_features(np.delete(generated, group, axis=0), reference) for group in groups]
    return jackknife_interval(value, np.asarray(copies), level=level)


def frechet_interval_of_statistics(
    own: FeatureStatistics, other: FeatureStatistics, sample: NDArray[Any], *, level: float = 0.95, seed: int = 0
) -> Interval:
    """Return the distance of sets known by their statistics, with an interval from a `sample` (M, D) of the first.

    The spread of psi over the sample is that over all N images; the interval has the width of N. Too small a sample,
    or a covariance of deficient rank, gives no interval.
    """
    value = frechet_distance(own, other)
    if len(sample) < 2 or min(own.count, other.count) < 2 * own.num_dims:
        return Interval(value, float("nan"), float("nan"))
    errors = bootstrap_means(frechet_influence(sample, own, other), seed=seed)
    return percentile_interval(value, value + errors * (len(sample) / own.count) ** 0.5, level=level)


def can_extrapolate(num_images: int, num_dims: int) -> bool:
    """Say whether halves of a set still have a covariance of full rank."""
    return num_images // 2 > num_dims


def frechet_at_infinity(
    generated: NDArray[Any],
    reference: NDArray[Any] | FeatureStatistics,
    *,
    fixed_reference: bool = True,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Return the squared Frechet distance extrapolated to infinitely many generated images, with its interval.

    The distance of n images is too large by about b / n. The set is cut into k disjoint blocks for k = 1..5, the k
    distances are averaged, and the line through these averages is read at k = 0. Disjoint blocks, not random subsets:
    each image weighs the same for each k, so the interval of the line is that of the whole set. fixed_reference: true
    keeps the reference as it is (the published definition); false cuts and extrapolates it too, which estimates the
    distance of the two populations. Source of the regression on 1/n: arXiv 1911.07023, sec. 3.
    """
    known = reference if isinstance(reference, FeatureStatistics) else feature_statistics(reference)
    if isinstance(reference, FeatureStatistics) and not fixed_reference:
        raise ValueError("fixed_reference: received False with statistics alone, accepted: True, or features to cut")
    num_dims = generated.shape[1]
    smaller = len(generated) if fixed_reference else min(len(generated), known.count)
    if not can_extrapolate(smaller, num_dims):
        raise ValueError(f"generated: received {smaller} rows, accepted: more than {2 * num_dims + 1} to extrapolate")
    rng = np.random.default_rng(seed)
    orders = rng.permutation(len(generated)), rng.permutation(known.count)
    counts = np.arange(1, min(MAX_PARTITIONS, smaller // (num_dims + 1)) + 1)
    averages = []
    for count in counts:
        parts = [feature_statistics(generated[rows]) for rows in np.array_split(orders[0], count)]
        others = [known] * count
        if not isinstance(reference, FeatureStatistics) and not fixed_reference:
            others = [feature_statistics(reference[rows]) for rows in np.array_split(orders[1], count)]
        averages.append(np.mean([frechet_distance(*pair) for pair in zip(parts, others, strict=True)]))
    # An average over k blocks of n/k scatters round the line by about k^(1/2) / n.
    _, value = np.polyfit(counts, averages, 1, w=counts**-0.5)
    rows = None if isinstance(reference, FeatureStatistics) else reference
    return _linearised_interval(float(value), generated, rows, known, fixed_reference, level=level, seed=seed)


def frechet_influence(features: NDArray[Any], own: FeatureStatistics, other: FeatureStatistics) -> Float64Array:
    """Return psi (N,), the first-order share of every row of `features` in the distance; its mean is about 0."""
    factor = linalg.cholesky(own.covariance, lower=True, check_finite=False)
    eigenvalues, vectors = linalg.eigh(factor.T @ other.covariance @ factor, check_finite=False)
    # T = L^-T V sqrt(E) V' L^-1, so x'Tx is the squared length of E^(1/4) V' L^-1 x.
    root = (np.clip(eigenvalues, 0.0, None) ** 0.25)[:, None] * vectors.T
    centred = features.astype(np.float64) - own.mean
    mapped = root @ linalg.solve_triangular(factor, centred.T, lower=True, check_finite=False)
    shares = 2.0 * centred @ (own.mean - other.mean) + (centred**2).sum(axis=1) - (mapped**2).sum(axis=0)
    influence: Float64Array = shares - shares.mean()
    return influence


def _linearised_interval(
    value: float,
    generated: NDArray[Any],
    reference: NDArray[Any] | None,
    known: FeatureStatistics,
    fixed_reference: bool,
    *,
    level: float,
    seed: int,
) -> Interval:
    """Return `value` with the percentiles of bootstrapped means of psi, over one side or over both."""
    own = feature_statistics(generated)
    errors = bootstrap_means(frechet_influence(generated, own, known), seed=seed)
    if not fixed_reference and reference is not None:
        errors = errors + bootstrap_means(frechet_influence(reference, known, own), seed=seed + 1)
    return percentile_interval(value, value + errors, level=level)
