import math

import numpy as np
import pytest
from scipy import stats

from pangu.evaluation.intervals import (
    block_interval,
    bootstrap_mean,
    jackknife_interval,
    percentile_interval,
    rate_interval,
)


def test_bootstrap_agrees_with_the_normal_interval_and_is_seeded():
    values = np.random.default_rng(0).standard_normal(400)
    interval = bootstrap_mean(values, seed=3)
    half_width = 1.96 * values.std(ddof=1) / 20
    assert interval.high - interval.low == pytest.approx(2 * half_width, rel=0.12)
    assert interval == bootstrap_mean(values, seed=3)
    assert interval != bootstrap_mean(values, seed=4)


def test_jackknife_of_a_mean_is_its_standard_error():
    values = np.random.default_rng(1).standard_normal(200)
    copies = np.array([np.delete(values, row).mean() for row in range(200)])
    interval = jackknife_interval(values.mean(), copies)
    expected = 1.972 * values.std(ddof=1) / 200**0.5
    assert interval.high - interval.value == pytest.approx(expected, rel=1e-3)


def test_the_interval_of_a_mean_covers_at_its_level():
    trials, hits = 500, 0
    for trial in range(trials):
        values = np.random.default_rng(trial).exponential(size=300)
        interval = bootstrap_mean(values, num_resamples=600, seed=trial)
        hits += interval.low <= 1.0 <= interval.high
    low, high = stats.binom.interval(0.999, trials, 0.95)
    assert low <= hits <= high, hits / trials


def test_a_rate_has_an_interval_at_its_ends_too():
    none, some = rate_interval(0, 100), rate_interval(30, 100)
    assert none.value == none.low == 0.0 and none.high == pytest.approx(0.037, abs=1e-3)
    assert (some.low, some.high) == pytest.approx((0.2189, 0.3958), abs=1e-4)
    with pytest.raises(ValueError, match="hits: received 5 of 4"):
        rate_interval(5, 4)


def test_a_single_value_has_no_interval():
    for interval in (bootstrap_mean(np.array([2.0])), block_interval(np.array([2.0]))):
        assert interval.value == 2.0 and math.isnan(interval.low)


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="level: received 95"):
        percentile_interval(0.0, np.zeros(3), level=95)
    with pytest.raises(ValueError, match="values: received shape"):
        bootstrap_mean(np.zeros((2, 2)))
