import numpy as np
import pytest
from scipy import stats

from pangu.evaluation.night_test import detectable_shift, holm_adjusted, predictive_p_values, predictive_reach

NIGHTS, METRICS, WINDOW, RATE = 10_000, 20, 14, 0.01


def decide(window: np.ndarray, tonight: np.ndarray, noise: float = 0.0, rate: float = RATE) -> np.ndarray:
    return holm_adjusted(predictive_p_values(window, tonight, 1, noise)) <= rate


def test_ten_thousand_quiet_nights_raise_as_many_alarms_as_stated():
    # Each metric has noise between nights of its own size, which no interval of one night's images would show.
    rng = np.random.default_rng(0)
    size = rng.uniform(0.1, 10.0, METRICS)
    window = rng.standard_normal((NIGHTS, METRICS, WINDOW)) * size[:, None]
    alarms = decide(window, rng.standard_normal((NIGHTS, METRICS)) * size).any(axis=1).sum()
    low, high = stats.binom.interval(0.999, NIGHTS, RATE)
    assert low <= alarms <= high, alarms / NIGHTS


@pytest.mark.parametrize("shared", [0.5, 0.99])
def test_metrics_that_move_together_raise_no_more(shared):
    rng = np.random.default_rng(1)
    common = rng.standard_normal((NIGHTS, 1, WINDOW + 1))
    own = rng.standard_normal((NIGHTS, METRICS, WINDOW + 1))
    nights = shared**0.5 * common + (1 - shared) ** 0.5 * own
    alarms = decide(nights[..., :-1], nights[..., -1]).any(axis=1).sum()
    assert alarms <= stats.binom.isf(0.001, NIGHTS, RATE), alarms / NIGHTS


def test_nights_of_one_model_and_seed_do_not_make_every_change_an_alarm():
    # A baseline of bit-equal nights has no spread at all; its error is that of its images, and so is tonight's.
    rng = np.random.default_rng(2)
    window = np.repeat(rng.standard_normal((NIGHTS, METRICS, 1)), WINDOW, axis=-1)
    tonight = rng.standard_normal((NIGHTS, METRICS))
    assert decide(window, tonight).any(axis=1).mean() > 0.9
    alarms = decide(window, tonight, noise=2.0).any(axis=1).sum()
    assert alarms <= stats.binom.isf(0.001, NIGHTS, RATE)
    assert not decide(window, window[..., 0]).any()


def test_the_noise_of_many_pairs_is_known_better_than_the_spread_of_few_nights():
    # Bit-equal nights of 40 prompts: the pairs' own Student's t decides, exactly at the stated rate, and finds more.
    rng = np.random.default_rng(4)
    nights, pairs, rate = 5, 40, 0.001
    changes = rng.standard_normal((200_000, pairs)) * 3.0
    mean, noise = changes.mean(axis=1), changes.var(axis=1, ddof=1) / pairs
    window = np.zeros((len(changes), nights))
    quiet = predictive_p_values(window, mean, 1, noise, pairs - 1) <= rate
    low, high = stats.binom.interval(0.999, len(changes), rate)
    assert low <= quiet.sum() <= high
    worse = mean + 5.0 * 3.0 / pairs**0.5
    found = predictive_p_values(window, worse, 1, noise, pairs - 1) <= rate
    assert found.mean() > 0.9 > 0.5 > (predictive_p_values(window, worse, 1, noise) <= rate).mean()
    at_bound = predictive_reach(window[0], float(noise[0]), pairs - 1, rate)
    assert predictive_p_values(window[0], at_bound, 1, noise[0], pairs - 1) == pytest.approx(rate)


def test_a_shift_of_the_stated_size_is_found():
    shift = detectable_shift(false_positive_rate=RATE, num_tests=METRICS, num_nights=WINDOW)
    rng = np.random.default_rng(3)
    window, tonight = rng.standard_normal((NIGHTS, METRICS, WINDOW)), rng.standard_normal((NIGHTS, METRICS))
    tonight[:, 4] += shift
    alarms = decide(window, tonight)
    low, high = stats.binom.interval(0.999, NIGHTS, 0.9)
    # Holm is a little stronger than the bound by which the shift was computed.
    assert low <= alarms[:, 4].sum() <= high + 0.01 * NIGHTS
    assert 5.0 < shift < 7.0
    assert np.delete(alarms, 4, axis=1).any(axis=1).mean() < 2 * RATE


def test_a_move_for_the_better_is_none_and_either_counts_both_ways():
    window = np.array([1.0, 2.0, 3.0, 2.0, 2.0])
    better, worse = (predictive_p_values(window, np.float64(tonight), 1) for tonight in (-9.0, 13.0))
    assert better > 0.99 and worse == pytest.approx(1 - better)
    assert predictive_p_values(window, np.float64(13.0), 0) == pytest.approx(2 * worse)
    assert predictive_p_values(window, np.float64(-9.0), -1) == pytest.approx(worse)


def test_holm_by_hand():
    adjusted = holm_adjusted(np.array([0.01, 0.04, 0.03, 0.005]))
    np.testing.assert_allclose(adjusted, [0.03, 0.06, 0.06, 0.02])


def test_one_night_is_no_baseline():
    with pytest.raises(ValueError, match="window: received 1 nights"):
        predictive_p_values(np.zeros(1), np.float64(0.0), 1)
