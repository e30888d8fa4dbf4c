"""Row 10: the Frechet distance against the usual code, means and covariances with scipy's `sqrtm` of their product."""

import functools
import warnings

import numpy as np
from scipy import linalg

from pangu.evaluation.frechet import frechet_distance, frechet_distance_of_features
from pangu.evaluation.statistics import feature_statistics
from tests.benchmarks.interleaved import BenchmarkRow, compare

PEER = "numpy.cov + scipy.linalg.sqrtm"
TOLERANCE = 1e-8


def features_of(num_rows: int, num_dims: int, seed: int) -> np.ndarray:
    """(N, D) float64 with a spectrum that falls as those of feature networks do."""
    rng = np.random.default_rng(seed)
    mixing = rng.standard_normal((num_dims, num_dims)) / num_dims**0.5
    return rng.standard_normal((num_rows, num_dims)) * np.arange(1, num_dims + 1) ** -0.5 @ mixing + 0.1 * seed


def peer_distance(first_mean, first_covariance, second_mean, second_covariance) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says so when the product is singular
        root = linalg.sqrtm(first_covariance @ second_covariance)
    shift = first_mean - second_mean
    return float(shift @ shift + np.trace(first_covariance) + np.trace(second_covariance) - 2 * np.trace(root).real)


def peer_distance_of_features(first, second) -> float:
    return peer_distance(first.mean(0), np.cov(first, rowvar=False), second.mean(0), np.cov(second, rowvar=False))


def exact_distance(first, second) -> float:
    """A second derivation for deficient ranks: singular values of each side by themselves, then of their product."""
    parts = [(rows - rows.mean(0)) / (len(rows) - 1) ** 0.5 for rows in (first, second)]
    (_, s, v), (_, t, w) = (linalg.svd(part, full_matrices=False) for part in parts)
    nuclear_norm = linalg.svdvals(s[:, None] * (v @ w.T) * t).sum()
    shift = first.mean(0) - second.mean(0)
    return float(shift @ shift + (s**2).sum() + (t**2).sum() - 2 * nuclear_norm)


def relative(value: float, reference: float) -> float:
    return abs(value - reference) / abs(reference)


def check_full_rank(ours: float, theirs: float) -> str:
    assert relative(ours, theirs) <= TOLERANCE, (ours, theirs)
    return f"relative difference {relative(ours, theirs):.1e}"


def check_deficient(exact: float, ours: float, theirs: float) -> str:
    assert relative(ours, exact) <= TOLERANCE, (ours, exact)
    return f"to a float64 SVD: ours {relative(ours, exact):.1e}, peer {relative(theirs, exact):.1e}"


def measure(full: bool) -> list[BenchmarkRow]:
    """Full rank from statistics, and 500 samples from features; 1024 dimensions, 2048 with `full`."""
    num_dims = 2048 if full else 1024
    first, second = features_of(2 * num_dims, num_dims, 1), features_of(2 * num_dims, num_dims, 2)
    known = feature_statistics(first), feature_statistics(second)
    parameters = [part for each in known for part in (each.mean, each.covariance)]
    few = first[:500], second[:500]
    return [
        compare(
            10,
            f"full rank, d = {num_dims}",
            PEER,
            ours=functools.partial(frechet_distance, *known),
            theirs=functools.partial(peer_distance, *parameters),
            check=check_full_rank,
            target=4.0,
        ),
        compare(
            10,
            f"n = 500, d = {num_dims}",
            PEER,
            ours=functools.partial(frechet_distance_of_features, *few),
            theirs=functools.partial(peer_distance_of_features, *few),
            check=functools.partial(check_deficient, exact_distance(*few)),
            target=50.0,
        ),
    ]
