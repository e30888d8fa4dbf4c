import numpy as np
import pytest
from scipy import stats

from pangu.evaluation.kernel import (
    gaussian_kernel_of_directions,
    kernel_distance_of_subsets,
    kernel_interval,
    squared_mmd,
)
from pangu.torchvision_ops import declare_missing_ops


def draw(count: int, *, shift: float = 0.0, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal((count, 24)) + shift).astype(np.float32)


def theirs(first: np.ndarray, second: np.ndarray, subsets: int, size: int) -> tuple[float, float]:
    declare_missing_ops()
    import torch
    from torch_fidelity.metric_kid import kid_features_to_metric

    result = kid_features_to_metric(
        torch.from_numpy(first).double(),
        torch.from_numpy(second).double(),
        kid_subsets=subsets,
        kid_subset_size=size,
        kid_kernel="poly",
        rng_seed=2020,
        verbose=False,
    )
    return result["kernel_inception_distance_mean"], result["kernel_inception_distance_std"]


def test_subsets_equal_torch_fidelity():
    first, second = draw(300), draw(280, shift=0.1, seed=1)
    ours = kernel_distance_of_subsets(first, second, num_subsets=20, subset_size=100)
    assert ours == pytest.approx(theirs(first, second, 20, 100), abs=1e-9)


def test_pairs_counted_one_by_one():
    first, second = draw(5), draw(6, seed=1)

    def kernel(x, y):
        return (np.dot(x.astype(np.float64), y.astype(np.float64)) / 24 + 1) ** 3

    expected = np.mean([kernel(first[i], first[j]) for i in range(5) for j in range(5) if i != j])
    expected += np.mean([kernel(second[i], second[j]) for i in range(6) for j in range(6) if i != j])
    expected -= 2 * np.mean([kernel(x, y) for x in first for y in second])
    assert squared_mmd(first, second) == pytest.approx(expected, rel=1e-12)


def test_it_is_unbiased_on_small_equal_sets():
    values = [squared_mmd(draw(20, seed=seed), draw(20, seed=seed + 1000)) for seed in range(300)]
    assert abs(np.mean(values)) < 3 * np.std(values) / len(values) ** 0.5


def cubic_expectation(first_mean, first_covariance, second_mean, second_covariance) -> float:
    """E (x'y / D + 1)^3 for independent normal x and y, from the first three moments of x'y."""
    dims = len(first_mean)
    dot = first_mean @ second_mean
    through_first, through_second = second_mean @ first_covariance, first_mean @ second_covariance
    spread = np.trace(first_covariance @ second_covariance)
    second = dot**2 + through_first @ second_mean + through_second @ first_mean + spread
    third = dot**3 + 3 * dot * (through_first @ second_mean)
    third += 3 * (dot * (spread + through_second @ first_mean) + 2 * through_first @ second_covariance @ first_mean)
    return float(third / dims**3 + 3 * second / dims**2 + 3 * dot / dims + 1)


def known_distance(mean, covariance) -> float:
    """The KID of a normal population and the standard one."""
    zero, unit = np.zeros(len(mean)), np.eye(len(mean))
    own = cubic_expectation(mean, covariance, mean, covariance)
    return own + cubic_expectation(zero, unit, zero, unit) - 2 * cubic_expectation(mean, covariance, zero, unit)


def test_the_interval_of_normal_populations_holds_their_known_distance_at_its_level():
    dims, trials = 16, 400
    mean = np.full(dims, 0.3)
    mixing = np.random.default_rng(1).standard_normal((dims, dims)) / dims**0.5
    covariance = mixing @ mixing.T + 0.2 * np.eye(dims)
    truth, factor = known_distance(mean, covariance), np.linalg.cholesky(covariance)
    values, hits = np.empty(trials), 0
    for trial in range(trials):
        rng = np.random.default_rng(trial)
        sample = rng.standard_normal((250, dims)) @ factor.T + mean
        interval = kernel_interval(sample, rng.standard_normal((300, dims)))
        values[trial] = interval.value
        hits += interval.low <= truth <= interval.high
    assert abs(values.mean() - truth) < 4 * values.std() / trials**0.5
    low, high = stats.binom.interval(0.999, trials, 0.95)
    assert low <= hits <= high, hits / trials


def test_the_variance_holds_where_the_sets_are_alike():
    # Only the second order is left there: without its correction the interval would be twice too wide.
    intervals = [kernel_interval(draw(60, seed=seed), draw(60, seed=seed + 5000)) for seed in range(300)]
    widths = np.asarray([(each.high - each.low) / 3.92 for each in intervals])
    assert np.sqrt((widths**2).mean()) == pytest.approx(np.std([each.value for each in intervals]), rel=0.25)


def test_the_gaussian_kernel_gives_cmmd_of_its_formula():
    first, second = draw(7), draw(9, shift=0.5, seed=1)

    def kernel(x, y):
        x, y = x.astype(np.float64) / np.linalg.norm(x), y.astype(np.float64) / np.linalg.norm(y)
        return np.exp(-((x - y) ** 2).sum() / (2 * 10.0**2))

    expected = np.mean([kernel(first[i], first[j]) for i in range(7) for j in range(7) if i != j])
    expected += np.mean([kernel(second[i], second[j]) for i in range(9) for j in range(9) if i != j])
    expected -= 2 * np.mean([kernel(x, y) for x in first for y in second])
    assert squared_mmd(first, second, gaussian_kernel_of_directions) == pytest.approx(1000 * expected, rel=1e-6)


def test_large_sets_are_cut_into_blocks():
    interval = kernel_interval(draw(4200, shift=0.2), draw(4200, seed=1), block_size=700)
    assert interval.low < interval.value < interval.high
    assert interval.value == pytest.approx(squared_mmd(draw(4200, shift=0.2), draw(4200, seed=1)), abs=0.05)


def test_a_subset_larger_than_the_set_is_refused():
    with pytest.raises(ValueError, match="subset_size: received 1000, accepted: 2 to 20"):
        kernel_distance_of_subsets(draw(20), draw(30))
