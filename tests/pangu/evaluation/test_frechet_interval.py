import numpy as np
import pytest
from scipy import stats

from pangu.evaluation.frechet import frechet_distance, frechet_distance_of_features
from pangu.evaluation.frechet_interval import (
    frechet_at_infinity,
    frechet_influence,
    frechet_interval,
    frechet_interval_of_statistics,
)
from pangu.evaluation.statistics import FeatureStatistics, feature_statistics

DIMS = 8
MEAN = np.full(DIMS, 0.3)
_MIXING = np.random.default_rng(1).standard_normal((DIMS, DIMS)) / DIMS**0.5
COVARIANCE = _MIXING @ _MIXING.T + 0.2 * np.eye(DIMS)
# Against the standard normal population the root of the product is the root of the covariance.
TRUTH = float(MEAN @ MEAN + np.trace(COVARIANCE) + DIMS - 2 * np.sqrt(np.linalg.eigvalsh(COVARIANCE)).sum())
STANDARD = FeatureStatistics(1001, np.zeros(DIMS), 1000.0 * np.eye(DIMS))


def sample(count: int, seed: int) -> np.ndarray:
    drawn = np.random.default_rng(seed).standard_normal((count, DIMS))
    return drawn @ np.linalg.cholesky(COVARIANCE).T + MEAN


def hits_within(hits: int, trials: int) -> bool:
    low, high = stats.binom.interval(0.999, trials, 0.95)
    return bool(low <= hits <= high)


@pytest.mark.parametrize("fixed_reference", [True, False])
def test_the_limit_is_unbiased_and_its_interval_covers_the_known_distance(fixed_reference):
    trials, values, hits = 250, [], 0
    for trial in range(trials):
        reference = STANDARD if fixed_reference else np.random.default_rng(9000 + trial).standard_normal((500, DIMS))
        interval = frechet_at_infinity(sample(400, trial), reference, fixed_reference=fixed_reference, seed=trial)
        values.append(interval.value)
        hits += interval.low <= TRUTH <= interval.high
    assert abs(np.mean(values) - TRUTH) < 3.5 * np.std(values) / trials**0.5
    assert hits_within(hits, trials), hits / trials


def test_without_the_extrapolation_so_few_images_are_far_off():
    values = [frechet_distance(feature_statistics(sample(60, seed)), STANDARD) for seed in range(100)]
    limits = [frechet_at_infinity(sample(60, seed), STANDARD).value for seed in range(100)]
    assert np.mean(values) - TRUTH > 8 * abs(np.mean(limits) - TRUTH)


def test_the_influence_is_the_derivative_of_the_distance():
    features, other = sample(500, 1).astype(np.float64), feature_statistics(sample(700, 2) * 1.3 + 0.2)
    influence = frechet_influence(features, feature_statistics(features), other)
    for row in (0, 17):
        weights = np.full(500, 1 / 500)
        step = 1e-5
        weights = weights * (1 - step)
        weights[row] += step
        mean = weights @ features
        centred = features - mean
        covariance = (centred * weights[:, None]).T @ centred * 500 / 499
        moved = frechet_distance(FeatureStatistics(500, mean, covariance * 499), other)
        slope = (moved - frechet_distance(feature_statistics(features), other)) / step
        assert influence[row] == pytest.approx(slope, rel=2e-2, abs=2e-2)


def test_a_sample_of_the_rows_gives_the_width_of_all_images():
    everything, other = sample(4000, 3), feature_statistics(sample(4000, 4) * 1.2)
    whole = frechet_interval_of_statistics(feature_statistics(everything), other, everything)
    sampled = frechet_interval_of_statistics(feature_statistics(everything), other, everything[:1000])
    assert sampled.value == whole.value
    assert sampled.high - sampled.low == pytest.approx(whole.high - whole.low, rel=0.15)


def test_few_images_have_a_jackknife_interval_that_holds_the_value():
    rng = np.random.default_rng(0)
    interval = frechet_interval(rng.standard_normal((40, 128)), rng.standard_normal((60, 128)) + 0.2)
    assert interval.low < interval.value < interval.high


def test_the_interval_of_the_distance_covers_its_own_expectation():
    expected = np.mean(
        [frechet_distance(feature_statistics(sample(300, 7000 + seed)), STANDARD) for seed in range(2000)]
    )
    reference = np.random.default_rng(0).standard_normal((200_000, DIMS))
    hits = 0
    for trial in range(60):
        interval = frechet_interval(sample(300, trial), reference[:20_000], seed=trial)
        hits += interval.low <= expected <= interval.high
    assert 52 <= hits <= 60
    assert frechet_distance_of_features(reference, reference) == pytest.approx(0.0, abs=1e-9)


def test_too_few_images_and_a_reference_that_cannot_be_cut_are_refused():
    with pytest.raises(ValueError, match="generated: received 17 rows, accepted: more than 17"):
        frechet_at_infinity(sample(17, 0), STANDARD)
    with pytest.raises(ValueError, match="fixed_reference: received False"):
        frechet_at_infinity(sample(100, 0), STANDARD, fixed_reference=False)
