"""Two models on one prompt list in one night: their differences with intervals, and whether one may follow the other.

Where a metric is a mean over images, the same prompts and seeds stand on both sides and are compared one by one. Other
metrics are compared as if both had their errors by themselves, which is too wide rather than too narrow, since both sets
answer the same prompts and are held against the same reference.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np
from scipy import stats

from pangu.evaluation.intervals import bootstrap_mean
from pangu.evaluation.night_test import holm_adjusted
from pangu.evaluation.regression import WORSE

MIN_PAIRS = 8
"""Below so many prompts nothing is said of a difference."""


@dataclass(frozen=True)
class ModelDifference:
    """Candidate less champion, with a 95 % interval. num_pairs: shared prompts, 0 where the two were not paired.

    p_higher, p_lower: the one-sided chance of a difference at least as high, or as low, between models that are alike.
    """

    metric: str
    value: float
    low: float
    high: float
    p_higher: float
    p_lower: float
    num_pairs: int

    def p_worse(self) -> float:
        """The chance that a candidate no worse than the champion looks as bad as this."""
        return self.p_higher if WORSE[self.metric] > 0 else self.p_lower

    def p_better(self) -> float:
        """The chance that a candidate no better than the champion looks as good as this."""
        return self.p_lower if WORSE[self.metric] > 0 else self.p_higher


def paired_difference(
    metric: str, champion: Mapping[str, float], candidate: Mapping[str, float], *, seed: int = 0
) -> ModelDifference | None:
    """Return the difference over the prompts that both have, by prompt id; None below `MIN_PAIRS` of them."""
    shared = sorted(set(champion) & set(candidate))
    if len(shared) < MIN_PAIRS:
        return None
    differences = np.asarray([candidate[prompt] - champion[prompt] for prompt in shared])
    found = bootstrap_mean(differences, seed=seed)
    error = float(differences.std(ddof=1)) / len(shared) ** 0.5
    higher, lower = _tails(found.value, error, len(shared) - 1)
    return ModelDifference(metric, found.value, found.low, found.high, higher, lower, len(shared))


def unpaired_difference(metric: str, champion: tuple[float, float], candidate: tuple[float, float]) -> ModelDifference:
    """Return the difference of two (value, standard error), as if the errors knew nothing of each other."""
    value = candidate[0] - champion[0]
    error = (champion[1] ** 2 + candidate[1] ** 2) ** 0.5
    reach = float(stats.norm.ppf(0.975)) * error
    higher, lower = _tails(value, error, None)
    return ModelDifference(metric, value, value - reach, value + reach, higher, lower, 0)


def _tails(value: float, error: float, degrees: int | None) -> tuple[float, float]:
    """Return the chance of a value at least as high, and at least as low, where there is no difference."""
    law = stats.norm() if degrees is None else stats.t(degrees)
    if error > 0.0:
        return float(law.sf(value / error)), float(law.cdf(value / error))
    return (0.0 if value > 0.0 else 1.0), (0.0 if value < 0.0 else 1.0)


class GatePolicy(Enum):
    """When a candidate may become the champion."""

    OFF = "off"
    IF_NOT_WORSE = "if_not_worse"
    IF_BETTER = "if_better"


@dataclass(frozen=True)
class GateDecision:
    """Whether the candidate may become the champion. worse, better: metrics that moved significantly, by name."""

    policy: str
    is_promotion: bool
    worse: tuple[str, ...]
    better: tuple[str, ...]
    why: str


def decide_gate(
    policy: GatePolicy,
    wanted: Sequence[str],
    differences: Sequence[ModelDifference],
    *,
    rate: float,
    is_same_model: bool = False,
) -> GateDecision:
    """Return the decision. wanted: metrics that must have been compared; rate: of any false verdict over all of them.

    Both questions, worse and better, are asked of every difference, each with Holm's adjustment. A metric that was not
    compared keeps the champion, whatever the others say. ValueError for a metric of which nobody says what is worse.
    """
    unknown = [name for name in wanted if name not in WORSE]
    if unknown:
        raise ValueError(f"gate_metrics: received {unknown[0]}, accepted: {', '.join(sorted(WORSE))}")
    found = [each for each in differences if each.metric in wanted]
    worse = _significant(found, [each.p_worse() for each in found], rate)
    better = _significant(found, [each.p_better() for each in found], rate)
    absent = sorted(set(wanted) - {each.metric for each in found})
    if is_same_model:
        may, why = False, "The candidate is the champion."
    elif policy is GatePolicy.OFF:
        may, why = False, "The gate is off."
    elif absent:
        may, why = False, f"Not compared: {', '.join(absent)}."
    elif worse:
        may, why = False, f"Significantly worse: {', '.join(worse)}."
    elif policy is GatePolicy.IF_BETTER and not better:
        may, why = False, "Nothing is significantly better."
    else:
        may, why = True, f"Nothing is significantly worse; better: {', '.join(better) or 'nothing'}."
    return GateDecision(policy.value, may, worse, better, why)


def _significant(differences: Sequence[ModelDifference], p_values: Sequence[float], rate: float) -> tuple[str, ...]:
    if not differences:
        return ()
    adjusted = holm_adjusted(np.asarray(p_values))
    return tuple(sorted({each.metric for each, p in zip(differences, adjusted, strict=True) if p <= rate}))
