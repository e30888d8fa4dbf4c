"""The band's promise on drawn numbers: what it says of precision holds on pictures it never saw."""

import numpy as np
import pytest
from scipy.special import expit

from curation.abstain_band import BandSettings, choose_band, cross_fit_band, measure_band, stratum_table


def draw(seed, num, share=0.5, distance=3.0):
    """Calibrated probabilities of two unit normals `distance` apart, and the truth."""
    rng = np.random.default_rng(seed)
    truth = rng.random(num) < share
    values = rng.normal(np.where(truth, distance / 2, -distance / 2))
    return expit(distance * values + np.log(share / (1 - share))), truth


def test_both_sides_reach_the_wanted_precision_and_no_smaller_threshold_does():
    probabilities, truth = draw(0, 4000, distance=2.0)
    settings = BandSettings(precision=0.95)
    band = choose_band(probabilities, truth, settings)
    assert 0.02 < band.low < 0.3 and 0.7 < band.high < 0.98
    for side in (band.negative, band.positive):
        assert side.is_shown and side.precision >= side.precision_low >= 0.95 and side.recall > 0.3
    wider = measure_band(probabilities, truth, band.low + 0.01, band.high - 0.01, settings)
    assert not wider.positive.is_shown and not wider.negative.is_shown
    assert measure_band(probabilities, truth, band.low, band.high, settings) == band


@pytest.mark.parametrize("share", [None, 0.1])
def test_the_promise_holds_on_other_pictures(share):
    """Of 60 bands chosen on 1500 pictures, at most a few break the promise on 20 000 others of the pool."""
    broken = 0
    pool = draw(10_000, 20_000, share or 0.5)
    for seed in range(60):
        probabilities, truth = draw(seed, 1500)
        if share:
            odds = np.log(share / (1 - share))
            probabilities = expit(np.log(probabilities / (1 - probabilities)) + odds)
        settings = BandSettings(precision=0.95, positive_share=share)
        band = choose_band(probabilities, truth, settings)
        found = measure_band(*pool, band.low, band.high, BandSettings())
        broken += found.positive.num > 0 and found.positive.precision < 0.95
    assert broken <= 9


def test_a_share_makes_the_positive_side_stricter_and_few_pictures_give_it_up():
    probabilities, truth = draw(1, 1000)
    plain = choose_band(probabilities, truth, BandSettings(precision=0.95))
    rare = choose_band(probabilities, truth, BandSettings(precision=0.95, positive_share=0.05))
    assert rare.high > plain.high and rare.low >= plain.low
    few = choose_band(np.array([0.99] * 20 + [0.01] * 60), np.arange(80) < 20, BandSettings(precision=0.95))
    assert not few.positive.is_shown and few.high == 1.0 and few.positive.num == 0
    assert few.negative.is_shown and few.low == 0.3


def test_a_perfect_head_still_leaves_the_middle_open():
    probabilities, truth = np.array([0.999] * 500 + [0.001] * 500), np.arange(1000) < 500
    band = choose_band(probabilities, truth, BandSettings(narrowest=(0.4, 0.6)))
    assert (band.low, band.high) == (0.4, 0.6)
    with pytest.raises(ValueError, match=r"narrowest must have 0 < low <= 0.5 <= high < 1; got \(0.6, 0.7\)"):
        BandSettings(narrowest=(0.6, 0.7))


def test_each_fold_is_decided_by_the_others_band():
    """Fold 0 is all noise told surely: its own band would give up, the others' does not, and that is seen."""
    probabilities, truth = draw(2, 3000)
    folds = np.arange(3000) % 5
    spoilt = folds == 0
    probabilities[spoilt], truth[spoilt] = 0.9999, np.arange(spoilt.sum()) % 2 == 0
    decisions, bands = cross_fit_band(probabilities, truth, folds, BandSettings())
    assert (decisions[spoilt] == 1).all() and bands[0].positive.is_shown and len(bands) == 5


def test_strata_count_what_is_decided_wrongly():
    names = ["b"] * 4 + ["a"] * 2
    truth = np.array([True, True, False, False, True, False])
    decisions = np.array([1, -1, 1, 0, 1, -1])
    first, second = stratum_table(names, np.full(6, 0.5), truth, decisions, 0.95)
    assert (first.name, first.num, first.num_positive, first.num_wrong, first.left_open) == ("b", 4, 2, 2, 1)
    assert (second.name, second.called_positive, second.called_other, second.num_wrong) == ("a", 1, 1, 0)
    assert 0.5 < first.wrong_high < 1 and second.wrong_high > 0.5
