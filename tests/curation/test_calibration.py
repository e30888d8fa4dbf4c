"""Formulas against closed forms, published values and simulation; the figure by its pixels."""

import numpy as np
import pytest
from scipy.special import expit
from sklearn.metrics import roc_auc_score

from curation.calibration import (
    area_interval,
    area_under_curve,
    brier_score,
    cross_fit_probabilities,
    expected_calibration_error,
    fit_scale,
    log_loss,
    num_needed,
    perfect_calibration_error,
    pool_weights,
    reliability_table,
    wilson_interval,
)
from curation.reliability_figure import draw_reliability


@pytest.fixture
def overconfident():
    """Logits three times too large, and one too high: the right scale is slope 1/3, offset -1/3."""
    rng = np.random.default_rng(0)
    right = rng.normal(0, 2, 20_000)
    return right * 3 + 1, rng.random(20_000) < expit(right)


def test_wilson_bounds_are_the_published_ones():
    # Newcombe 1998, table I: 81 of 263 and 0 of 20 at 95 % two-sided
    assert wilson_interval(81, 263, 0.975) == (pytest.approx(0.2553, abs=1e-4), pytest.approx(0.3662, abs=1e-4))
    assert wilson_interval(0, 20, 0.975) == (0.0, pytest.approx(0.1611, abs=1e-4))
    assert wilson_interval(0, 0, 0.95) == (0.0, 1.0)


@pytest.mark.parametrize("precision", [0.9, 0.95, 0.99])
def test_the_number_needed_is_the_smallest_that_can_show_it(precision):
    needed = num_needed(precision, 0.95)
    assert wilson_interval(needed, needed, 0.95)[0] >= precision > wilson_interval(needed - 1, needed - 1, 0.95)[0]
    others = num_needed(precision, 0.95, share=0.1)
    told = [0.1 / (0.1 + 0.9 * wilson_interval(0, num, 0.95)[1]) for num in (others, others - 1)]
    assert told[0] >= precision > told[1]


@pytest.mark.parametrize(("method", "offset"), [("platt", -1 / 3), ("temperature", 0.0)])
def test_the_scale_that_was_applied_is_found_again(overconfident, method, offset):
    logits, truth = overconfident
    if method == "temperature":
        logits = logits - 1
    scale = fit_scale(logits, truth, np.ones(len(truth)), method)
    assert (scale.slope, scale.offset) == (pytest.approx(1 / 3, abs=0.01), pytest.approx(offset, abs=0.03))
    with pytest.raises(ValueError, match="accepted are platt, temperature"):
        fit_scale(logits, truth, np.ones(len(truth)), "isotonic")


def test_scaling_mends_the_error_and_a_perfect_classifier_shows_what_is_expected(overconfident):
    logits, truth = overconfident
    ones = np.ones(len(truth))
    before = expected_calibration_error(reliability_table(expit(logits), truth, ones))
    told = cross_fit_probabilities(logits, truth, np.arange(len(truth)) % 5, ones, "platt")
    after = expected_calibration_error(reliability_table(told, truth, ones))
    mean, top = perfect_calibration_error(told, ones, num_draws=50)
    assert before > 0.1 > 10 * after and after < top and 0 < mean < top


def test_classes_that_do_not_overlap_keep_a_finite_scale():
    logits = np.concatenate([np.full(50, 40.0), np.full(50, -40.0)])
    scale = fit_scale(logits, logits > 0, np.ones(100))
    assert scale(logits).max() == pytest.approx(51 / 52, abs=1e-3)


def test_no_picture_calibrates_itself():
    """Folds whose truth is opposite: the other folds' scale must be wrong on each."""
    logits = np.tile([3.0, -3.0], 40)
    truth, folds = (logits > 0) ^ (np.arange(80) < 40), (np.arange(80) >= 40).astype(np.int64)
    told = cross_fit_probabilities(logits, truth, folds, np.ones(80), "platt")
    assert log_loss(told[folds == 0], truth[folds == 0], np.ones(40)) > 1


def test_weights_stand_for_a_pool_with_another_share():
    rng = np.random.default_rng(1)
    truth = rng.random(40_000) < 0.5
    logits = rng.normal(np.where(truth, 1.0, -1.0))
    weights = pool_weights(truth, 0.1)
    assert weights.mean() == pytest.approx(1) and np.average(truth, weights=weights) == pytest.approx(0.1)
    scale = fit_scale(logits, truth, weights)
    # two unit normals at +1 and -1: logit 2 x, plus the log odds of the share
    assert (scale.slope, scale.offset) == (pytest.approx(2, abs=0.06), pytest.approx(np.log(1 / 9), abs=0.06))


def test_area_scores_and_interval():
    rng = np.random.default_rng(2)
    truth = rng.random(400) < 0.3
    scores = np.round(rng.normal(truth * 1.0), 1)
    assert area_under_curve(scores, truth) == pytest.approx(roc_auc_score(truth, scores))
    low, high = area_interval(scores, truth, np.arange(400))
    assert low < area_under_curve(scores, truth) < high
    wide = area_interval(scores, truth, np.arange(400) // 40)
    assert wide[1] - wide[0] > 0 and area_interval(scores, truth, np.arange(400)) == (low, high)
    assert brier_score(np.array([0.8, 0.1]), np.array([True, False]), np.ones(2)) == pytest.approx(0.025)


def test_bins_hold_equal_numbers_and_equal_values_share_one():
    probabilities = np.concatenate([np.full(50, 0.5), np.linspace(0.6, 0.9, 50)])
    table = reliability_table(probabilities, np.ones(100, bool), np.ones(100), num_bins=10)
    assert [one.num for one in table] == [50, 10, 10, 10, 10, 10]
    assert sum(one.weight for one in table) == pytest.approx(1)
    even = reliability_table(np.linspace(0, 1, 103), np.ones(103, bool), np.ones(103), num_bins=10)
    assert {one.num for one in even} <= {10, 11} and len(even) == 10


def test_the_figure_shades_the_band_and_draws_both_classes():
    rng = np.random.default_rng(3)
    probabilities = rng.random(500)
    truth = rng.random(500) < probabilities
    table = reliability_table(probabilities, truth, np.ones(500))
    image = draw_reliability((table, table), probabilities, truth, (0.2, 0.8), "heading")
    colours = dict((colour, number) for number, colour in image.getcolors(1 << 22))
    # both plots are 800 px squares, shaded on 60 % of their width where nothing else is drawn
    assert 0.3 * 2 * 800 * 480 < colours[(255, 240, 205)] < 2 * 800 * 481
    assert colours[(214, 84, 22)] > 1000 and colours[(30, 104, 170)] > 1000
