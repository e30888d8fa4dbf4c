"""Reward-ranked fine-tuning (RAFT, arXiv 2304.06767): rewards to winners, held-out figures, and when to stop.

Shapes: P prompts, K candidates of each. Only the ranking within a prompt's K counts, so each reward term is z-scored
there before the terms are added with their weights.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from pangu.evaluation.intervals import Interval, bootstrap_mean

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
NO_WINNER = -1


def standardise(rewards: Floats, usable: Bools) -> Floats:
    """(P, K) z-scores over the usable candidates of each prompt; 0 where they are all equal, NaN where unusable."""
    values = np.where(usable, rewards, np.nan)
    counts = usable.sum(axis=1, keepdims=True)
    mean = np.nansum(values, axis=1, keepdims=True) / np.maximum(counts, 1)
    spread = np.sqrt(np.nansum((values - mean) ** 2, axis=1, keepdims=True) / np.maximum(counts, 1))
    flat = spread <= 1e-12
    scores: Floats = np.where(flat, 0.0, values - mean) / np.where(flat, 1.0, spread)
    return np.where(usable, scores, np.nan)


def total_rewards(rewards: Mapping[str, Floats], weights: Mapping[str, float], usable: Bools) -> Floats:
    """(P, K) weighted sums of z-scores, NaN where unusable.

    Raises:
        ValueError: a weight names no reward, or none is given.
    """
    if not weights or set(weights) - set(rewards):
        raise ValueError(f"weights: got {sorted(weights)}, accepted are some of {sorted(rewards)}")
    total = np.zeros(usable.shape)
    for name in sorted(weights):
        total = total + weights[name] * standardise(rewards[name], usable)
    return total


def pick_winners(totals: Floats) -> NDArray[np.int64]:
    """(P,) the best candidate of each prompt, the first of equals; `NO_WINNER` where none is usable."""
    best = np.where(np.isnan(totals), -np.inf, totals).argmax(axis=1)
    return np.where(np.isnan(totals).all(axis=1), NO_WINNER, best).astype(np.int64)


def win_rate(ours: Floats, theirs: Floats, seed: int = 0) -> Interval:
    """The share of prompts on which ours scores higher, a tie counting half, with its bootstrap interval over prompts."""
    wins = np.where(ours > theirs, 1.0, np.where(ours < theirs, 0.0, 0.5))
    return bootstrap_mean(wins, seed=seed)


class Bounds(BaseModel):
    """An interval as it is stored."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, interval: Interval) -> "Bounds":
        """From an interval."""
        return cls(value=interval.value, low=interval.low, high=interval.high)


class RoundFigures(BaseModel):
    """What the held-out prompts say of one round; round 0 is the fine-tuned model before any.

    n: prompts with a picture in every arm. rewards: mean of each held-out reward, which this loop has chased.
    reward_gain: of their weighted, standardised sum over the model of round 0, paired by prompt.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    round: int
    n: int
    wins_over_sft: Bounds
    wins_over_original: Bounds
    wins_over_champion: Bounds | None = None
    reward_gain: Bounds
    judge_score: float
    rewards: Mapping[str, float]
    language_kept: float
    things_kept: float
    usable: float
    mean_words: float
    distinct: float
    sft_loss: float | None = None
    winners: int = 0
    seconds: Mapping[str, float] = {}


class StopReason(StrEnum):
    """Why the rounds end."""

    DONE = "all rounds done"
    NO_BETTER = "the held-out win rate has not risen"
    REWARD_HACKED = "rewards rise while the held-out scorer prefers the model before: a reward is being gamed"
    REACHED = "the held-out win rate that was asked for is reached"


class StopRules(BaseModel):
    """patience: rounds without a better held-out win rate. reach: stop at this win rate; never where None."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    patience: int = Field(2, ge=1)
    reach: float | None = Field(None, gt=0, le=1)


def decide_stop(figures: Sequence[RoundFigures], rules: StopRules, max_rounds: int) -> StopReason | None:
    """Whether the rounds end after the last of these figures; those of round 0 come first."""
    last = figures[-1]
    if last.round == 0:
        return None if max_rounds else StopReason.DONE
    if last.wins_over_sft.high < 0.5 and last.reward_gain.low > 0:
        return StopReason.REWARD_HACKED
    if rules.reach is not None and last.wins_over_sft.value >= rules.reach:
        return StopReason.REACHED
    if last.round - best_round(figures) >= rules.patience:
        return StopReason.NO_BETTER
    return StopReason.DONE if last.round >= max_rounds else None


def best_round(figures: Sequence[RoundFigures]) -> int:
    """The round with the highest held-out win rate over the model of round 0, the earliest of equals."""
    return max(figures, key=lambda each: (each.wins_over_sft.value, -each.round)).round


@dataclass(frozen=True)
class ArmTable:
    """One model's held-out rows in prompt order. scores: (P,) by the held-out scorer. rewards: name -> (P,)."""

    texts: Sequence[str]
    scores: Floats
    rewards: Mapping[str, Floats]


def reward_gain(ours: ArmTable, theirs: ArmTable, weights: Mapping[str, float], seed: int = 0) -> Interval:
    """The mean over prompts of the weighted reward differences, each term in units of its spread in `theirs`."""
    gain: Any = np.zeros(len(ours.scores))
    for name, weight in sorted(weights.items()):
        spread = float(theirs.rewards[name].std()) or 1.0
        gain = gain + weight * (ours.rewards[name] - theirs.rewards[name]) / spread
    return bootstrap_mean(gain, seed=seed)
