import numpy as np
import pytest

from pangu.raft import (
    NO_WINNER,
    ArmTable,
    Bounds,
    RoundFigures,
    StopReason,
    StopRules,
    best_round,
    decide_stop,
    pick_winners,
    reward_gain,
    standardise,
    total_rewards,
    win_rate,
)

RNG = np.random.default_rng(0)


def test_scores_are_standardised_within_a_prompt_over_what_is_usable():
    rewards = np.array([[1.0, 3.0, 100.0], [5.0, 5.0, 5.0]])
    usable = np.array([[True, True, False], [True, True, True]])
    scores = standardise(rewards, usable)
    np.testing.assert_allclose(scores[0, :2], [-1, 1])
    assert np.isnan(scores[0, 2]) and (scores[1] == 0).all()


def test_only_the_ranking_within_a_prompt_counts():
    """Any shift and any positive scale of one prompt's term changes nothing."""
    rewards = {"a": RNG.normal(size=(20, 4)), "b": RNG.normal(size=(20, 4))}
    usable = np.ones((20, 4), bool)
    before = pick_winners(total_rewards(rewards, {"a": 1.0, "b": 0.5}, usable))
    moved = {name: values * RNG.uniform(0.1, 9, (20, 1)) + RNG.normal(size=(20, 1)) for name, values in rewards.items()}
    assert (pick_winners(total_rewards(moved, {"a": 1.0, "b": 0.5}, usable)) == before).all()


def test_weights_decide_and_must_name_rewards():
    rewards = {"a": np.array([[0.0, 1.0]]), "b": np.array([[1.0, 0.0]])}
    usable = np.ones((1, 2), bool)
    assert pick_winners(total_rewards(rewards, {"a": 1.0, "b": 0.4}, usable))[0] == 1
    assert pick_winners(total_rewards(rewards, {"a": 0.4, "b": 1.0}, usable))[0] == 0
    with pytest.raises(ValueError, match="accepted are some of"):
        total_rewards(rewards, {"c": 1.0}, usable)


def test_the_first_of_equals_wins_and_nobody_where_none_is_usable():
    totals = np.array([[0.5, 0.5, 0.1], [np.nan, np.nan, np.nan], [np.nan, -3.0, np.nan]])
    assert pick_winners(totals).tolist() == [0, NO_WINNER, 1]


def test_a_tie_counts_half_and_the_interval_covers():
    assert win_rate(np.zeros(50), np.zeros(50)).value == 0.5
    found = win_rate(np.arange(100.0), np.full(100, 29.5))
    assert found.value == 0.7 and 0.58 < found.low < 0.7 < found.high < 0.8


def arm(scores, **rewards):
    return ArmTable(["x"] * len(scores), np.asarray(scores), {name: np.asarray(v) for name, v in rewards.items()})


def test_gain_is_in_units_of_the_spread_before():
    before = arm(np.zeros(40), a=np.tile([0.0, 2.0], 20))
    assert reward_gain(arm(np.zeros(40), a=np.tile([1.0, 3.0], 20)), before, {"a": 0.5}).value == pytest.approx(0.5)


def figures(number, rate, *, half=0.05, gain=0.5):
    wins = Bounds(value=rate, low=rate - half, high=rate + half)
    return RoundFigures(
        round=number,
        n=100,
        wins_over_sft=wins,
        wins_over_original=wins,
        reward_gain=Bounds(value=gain, low=gain - 0.1, high=gain + 0.1),
        judge_score=0.0,
        rewards={},
        language_kept=1.0,
        things_kept=1.0,
        usable=1.0,
        mean_words=10.0,
        distinct=0.5,
    )


START = figures(0, 0.5, half=0.0, gain=0.0)


@pytest.mark.parametrize(
    ("rates", "rounds", "stop"),
    [
        ([], 3, None),
        ([], 0, StopReason.DONE),
        ([0.6], 3, None),
        ([0.6, 0.65, 0.7], 3, StopReason.DONE),
        ([0.6, 0.58, 0.59], 9, StopReason.NO_BETTER),
        ([0.6, 0.58], 9, None),
        ([0.42], 9, StopReason.REWARD_HACKED),
        ([0.48], 9, None),
        ([0.6, 0.3], 9, StopReason.REWARD_HACKED),
    ],
)
def test_when_the_rounds_end(rates, rounds, stop):
    found = [START, *(figures(number, rate) for number, rate in enumerate(rates, 1))]
    assert decide_stop(found, StopRules(), rounds) is stop


def test_a_fall_without_a_rise_of_rewards_is_no_hack_and_a_reached_rate_ends_it():
    assert decide_stop([START, figures(1, 0.4, gain=0.05)], StopRules(), 9) is None
    assert decide_stop([START, figures(1, 0.7)], StopRules(reach=0.65), 9) is StopReason.REACHED
    assert best_round([START, figures(1, 0.6), figures(2, 0.6), figures(3, 0.55)]) == 1
    assert best_round([START, figures(1, 0.4)]) == 0
