import numpy as np
import pytest
from scipy.stats import binomtest

from pangu.evaluation.kernel import squared_mmd
from ray_jobs.judge_figures import (
    aspect_figures,
    kernel_difference,
    own_scores,
    paired_difference,
    shuffled_mean,
    trend_figure,
    wilson,
)

NAN = float("nan")


@pytest.mark.parametrize(("right", "num"), [(0, 5), (3, 10), (95, 96), (96, 96)])
def test_the_interval_is_wilsons(right, num):
    found = wilson(right / num, num)
    known = binomtest(right, num).proportion_ci(0.95, method="wilson")
    assert (found.low, found.high) == pytest.approx((known.low, known.high), abs=2e-4)


def test_an_interval_of_nothing_is_refused():
    with pytest.raises(ValueError, match="num: got 0"):
        wilson(0.5, 0)


def test_the_control_leaves_out_the_own_prompt_and_what_asks_nothing():
    matrix = np.array([[1, 0, NAN, 0.5], [1, 1, NAN, 0], [1, 1, NAN, 1], [0, 0, NAN, 1.0]])
    everyone = np.ones(4, bool)
    assert own_scores(matrix)[:2].tolist() == [1, 1] and np.isnan(own_scores(matrix)[2])
    assert shuffled_mean(matrix, everyone) == pytest.approx((0 + 0.5 + 1 + 0 + 0 + 0) / 6)
    assert shuffled_mean(matrix, np.array([True, False, False, False])) == pytest.approx(0.25)


def test_a_figure_counts_the_prompts_that_ask():
    matrix = np.array([[1, 0, NAN], [0, 0, NAN], [1, 1, NAN]])
    drawn = {"drawn": {"side": np.eye(3), "style": np.full((3, 3), NAN)}}
    figures = aspect_figures({"side": matrix, "style": np.full((3, 3), NAN)}, drawn, np.ones(3, bool))
    assert [(row.aspect, row.num, row.score.value) for row in figures] == [("side", 2, 0.5)]
    assert figures[0].drawn.value == 1 and figures[0].decoded is None


def test_a_paired_difference_is_surer_than_two_separate_ones():
    rng = np.random.default_rng(0)
    hard = rng.random(200)
    first, second = (hard < 0.6).astype(float), (hard < 0.5).astype(float)
    found = paired_difference(first, np.where(hard > 0.99, NAN, second))
    assert found.low > 0 and found.value == pytest.approx((first - second)[hard <= 0.99].mean())


def test_the_difference_of_kernel_distances_is_their_difference():
    rng = np.random.default_rng(1)
    first, second = rng.normal(0, 1, (40, 8)), rng.normal(0.8, 1, (40, 8))
    reference = rng.normal(0, 1, (70, 8))
    found = kernel_difference(first, second, reference)
    assert found.value == pytest.approx(squared_mmd(first, reference) - squared_mmd(second, reference))
    assert found.low <= found.value <= found.high and found.high < 0
    same = kernel_difference(first, first, reference)
    assert (same.value, same.low, same.high) == pytest.approx((0, 0, 0), abs=1e-12)
    with pytest.raises(ValueError, match="the same prompts"):
        kernel_difference(first[:-1], second, reference)


def test_more_seeds_of_the_same_prompts_are_no_more_prompts():
    rng = np.random.default_rng(2)
    prompts, reference = rng.normal(0, 1, (40, 8)), rng.normal(0, 1, (400, 8))
    first = np.concatenate([prompts + rng.normal(0, 0.1, (40, 8)) for _ in range(4)])
    second = np.concatenate([prompts * 1.3 + rng.normal(0, 0.1, (40, 8)) for _ in range(4)])

    def width(**settings):
        found = kernel_difference(first, second, reference, **settings)
        return found.high - found.low

    assert width(seeds_of_each=4) > 1.5 * width()
    with pytest.raises(ValueError, match="the same prompts"):
        kernel_difference(first, second, reference, seeds_of_each=3)


@pytest.mark.parametrize(
    ("rates", "said"),
    [
        ([0.0, 0.5, 1.0], "rises at every one of 2 steps"),
        ([0.0, 0.5, 0.5], "never falls; 1 of 2 steps rise"),
        ([0.0, 1.0, 0.5], "not monotone: the cartoon rate falls from s=3 to 6 by 0.500"),
    ],
)
def test_a_trend_says_whether_it_is_monotone(rates, said):
    is_style = np.stack([np.arange(8) < 8 * rate for rate in rates]).astype(float)
    trend = trend_figure("cartoon", [0, 3, 6], is_style, is_style * 0.9, {"shape": [1, 1, 1]})
    assert said in trend.statement
    assert ("probability rises at every step" in trend.statement) == (rates[1] < rates[2])
    assert trend.rise.value == pytest.approx(rates[-1] - rates[0]) and trend.rise.low > 0
    assert trend.probabilities == pytest.approx([0.9 * rate for rate in rates])
