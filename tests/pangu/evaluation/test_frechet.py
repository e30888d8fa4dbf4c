import numpy as np
import pytest
from scipy import linalg

from pangu.evaluation.frechet import frechet_distance, frechet_distance_of_features
from pangu.evaluation.statistics import feature_statistics, merge_statistics


def draw(count: int, dims: int, *, shift: float = 0.0, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    mixing = np.random.default_rng(seed + 100).standard_normal((dims, dims)) / dims**0.5
    return (rng.standard_normal((count, dims)) @ mixing + shift).astype(np.float32)


def distance_by_sqrtm(first: np.ndarray, second: np.ndarray) -> float:
    one, other = np.cov(first.astype(np.float64), rowvar=False), np.cov(second.astype(np.float64), rowvar=False)
    shift = first.astype(np.float64).mean(axis=0) - second.astype(np.float64).mean(axis=0)
    return float(shift @ shift + np.trace(one + other - 2 * linalg.sqrtm(one @ other).real))


def test_full_rank_equals_scipy_sqrtm():
    first, second = draw(900, 64), draw(700, 64, shift=0.3, seed=1)
    ours = frechet_distance(feature_statistics(first), feature_statistics(second))
    assert ours == pytest.approx(distance_by_sqrtm(first, second), rel=1e-8)


def test_full_rank_equals_torch_fidelity():
    from pangu.torchvision_ops import declare_missing_ops

    declare_missing_ops()
    import torch
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

    first, second = draw(900, 64), draw(700, 64, shift=0.3, seed=1)
    theirs = fid_statistics_to_metric(
        fid_features_to_statistics(torch.from_numpy(first)), fid_features_to_statistics(torch.from_numpy(second)), False
    )["frechet_inception_distance"]
    assert frechet_distance_of_features(first, second) == pytest.approx(theirs, abs=1e-5)


def test_fewer_samples_than_dimensions_equals_a_float64_svd():
    first, second = draw(40, 128), draw(50, 128, shift=0.2, seed=1)
    one = (first - first.mean(axis=0, dtype=np.float64)) / (len(first) - 1) ** 0.5
    other = (second - second.mean(axis=0, dtype=np.float64)) / (len(second) - 1) ** 0.5

    def root(factor: np.ndarray) -> np.ndarray:
        _, values, right = np.linalg.svd(factor, full_matrices=False)
        return (right.T * values) @ right

    nuclear = np.linalg.svd(root(one) @ root(other), compute_uv=False).sum()
    shift = first.mean(axis=0, dtype=np.float64) - second.mean(axis=0, dtype=np.float64)
    expected = shift @ shift + (one**2).sum() + (other**2).sum() - 2 * nuclear
    assert frechet_distance_of_features(first, second) == pytest.approx(expected, rel=1e-8)


def test_statistics_of_deficient_rank_agree_with_the_features():
    first, second = draw(40, 128), draw(500, 128, shift=0.2, seed=1)
    from_statistics = frechet_distance(feature_statistics(first), feature_statistics(second))
    assert from_statistics == pytest.approx(frechet_distance_of_features(first, second), rel=1e-5)


def test_gaussians_of_known_distance():
    # Two sets with exactly equal shape: only the means differ, by 3 in each of 16 dimensions.
    first = draw(400, 16).astype(np.float64)
    assert frechet_distance_of_features(first, first + 3.0) == pytest.approx(16 * 9.0, rel=1e-9)
    assert frechet_distance_of_features(first, first) == pytest.approx(0.0, abs=1e-8)
    assert frechet_distance_of_features(first, 2.0 * first - first.mean(axis=0)) == pytest.approx(
        np.trace(np.cov(first, rowvar=False)), rel=1e-8
    )


def test_merged_statistics_equal_those_of_the_whole():
    features = draw(1000, 32, shift=100.0)
    whole = feature_statistics(features)
    merged = merge_statistics(feature_statistics(part) for part in np.array_split(features, 7))
    np.testing.assert_allclose(merged.mean, whole.mean, rtol=1e-12)
    np.testing.assert_allclose(merged.covariance, np.cov(features.astype(np.float64), rowvar=False), atol=1e-9)
    assert merged.count == 1000


@pytest.mark.parametrize("shape", [(1, 8), (5, 9)])
def test_sets_that_cannot_be_compared_are_refused(shape):
    with pytest.raises(ValueError, match="features: received"):
        frechet_distance_of_features(np.zeros(shape), np.zeros((5, 8)))
