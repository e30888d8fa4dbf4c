import numpy as np
import pytest

from pangu.evaluation.kernel import kernel_distance_of_subsets, kernel_interval, squared_mmd
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


def test_interval_covers_at_about_its_level():
    truth = squared_mmd(draw(8000, shift=0.3, seed=1), draw(8000, seed=2))
    hits = 0
    for trial in range(40):
        interval = kernel_interval(draw(150, shift=0.3, seed=10 + trial), draw(150, seed=900 + trial), seed=trial)
        hits += interval.low <= truth <= interval.high
    assert 33 <= hits <= 40


def test_large_sets_are_cut_into_blocks():
    interval = kernel_interval(draw(4200, shift=0.2), draw(4200, seed=1), block_size=700)
    assert interval.low < interval.value < interval.high
    assert interval.value == pytest.approx(squared_mmd(draw(4200, shift=0.2), draw(4200, seed=1)), abs=0.05)


def test_a_subset_larger_than_the_set_is_refused():
    with pytest.raises(ValueError, match="subset_size: received 1000, accepted: 2 to 20"):
        kernel_distance_of_subsets(draw(20), draw(30))
