import numpy as np
import pytest
from scipy import stats

from pangu.evaluation.kernel import kernel_interval, squared_mmd
from pangu.evaluation.mark_effect import mark_effect


def pictures(count: int, seed: int, dims: int = 12) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, dims))


def test_between_is_the_paired_mean_counted_one_by_one():
    plain = pictures(6, 0)
    marked = plain + 0.1 * pictures(6, 1)

    def kernel(x, y):
        return (x @ y / 12 + 1) ** 3

    pairs = [
        kernel(plain[i], plain[j])
        + kernel(marked[i], marked[j])
        - kernel(plain[i], marked[j])
        - kernel(marked[i], plain[j])
        for i in range(6)
        for j in range(6)
        if i != j
    ]
    assert mark_effect(plain, marked).between.value == pytest.approx(np.mean(pairs), rel=1e-10)


def test_the_interval_covers_the_effect_of_a_known_shift():
    # A shift of all means by 0.2: the population's KID follows from that of many images.
    trials, hits, hits_reference = 200, 0, 0
    reference = pictures(400, 10**6)
    truth, on_reference = _known(0.2, reference)
    for trial in range(trials):
        plain = pictures(200, trial)
        effect = mark_effect(plain, plain + 0.2 + 0.05 * pictures(200, 5000 + trial), reference=reference)
        hits += effect.between.low <= truth <= effect.between.high
        hits_reference += effect.on_reference.low <= on_reference <= effect.on_reference.high
    low, high = stats.binom.interval(0.999, trials, 0.95)
    assert low <= hits <= high and low <= hits_reference <= high, (hits, hits_reference)


def _known(shift: float, reference: np.ndarray) -> tuple[float, float]:
    plain = pictures(8_000, 77)
    marked = plain + shift + 0.05 * pictures(8_000, 78)
    blocks = [
        mark_effect(plain[rows], marked[rows], reference=reference) for rows in np.array_split(np.arange(8_000), 8)
    ]
    values = [(each.between.value, each.on_reference.value) for each in blocks]
    return tuple(np.mean(values, axis=0))


def test_pairing_makes_the_interval_of_a_small_mark_much_narrower():
    plain = pictures(400, 0)
    marked = plain + 0.05 * pictures(400, 1) + 0.05
    paired, unpaired = mark_effect(plain, marked).between, kernel_interval(plain, marked)
    assert paired.high - paired.low < 0.2 * (unpaired.high - unpaired.low)
    assert paired.low > 0.0 > unpaired.low


def test_no_mark_has_no_effect():
    plain = pictures(50, 0)
    effect = mark_effect(plain, plain.copy(), reference=pictures(60, 1))
    assert effect.between.value == pytest.approx(0.0, abs=1e-12) and effect.between.high < 1e-9
    assert effect.on_reference.value == pytest.approx(0.0, abs=1e-12)
    assert effect.num_images == 50


def test_the_price_on_the_reference_is_the_difference_of_both_distances():
    plain, reference = pictures(80, 0), pictures(90, 1)
    marked = plain * 1.1
    effect = mark_effect(plain, marked, reference=reference)
    expected = squared_mmd(marked, reference) - squared_mmd(plain, reference)
    assert effect.on_reference.value == pytest.approx(expected, rel=1e-12)


def test_other_images_are_refused():
    with pytest.raises(ValueError, match=r"marked: received shapes \(5, 12\) and \(6, 12\)"):
        mark_effect(pictures(5, 0), pictures(6, 0))
