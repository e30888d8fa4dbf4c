"""How far a classifier's probabilities can be believed: scaling, reliability, and the band in which it abstains.

Notation: logits s (N,), truth y (N,) bool, probabilities p = 1 / (1 + exp(-(a s + b))), weights w (N,) that make the
labelled pictures stand for a pool with another share of positives. Everything here is given values of pictures that
the classifier did not learn from.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import expit
from scipy.stats import norm, rankdata

Floats = npt.NDArray[np.float64]
Truth = npt.NDArray[np.bool_]
Method = Literal["platt", "temperature"]
METHODS: tuple[Method, ...] = ("platt", "temperature")

MIDDLE = (0.02, 0.98)
"""Probabilities between these leave room for doubt."""

_SLOPES = (1e-3, 1e3)


@dataclass(frozen=True)
class Scale:
    """p = expit(slope * logit + offset); slope > 0, so the order of pictures stays."""

    slope: float
    offset: float

    def __call__(self, logits: Floats) -> Floats:
        """(N,) probabilities of logits (N,)."""
        probabilities: Floats = expit(self.slope * logits + self.offset)
        return probabilities


def pool_weights(truth: Truth, positive_share: float | None) -> Floats:
    """(N,) weights with mean 1 under which the share of positives is `positive_share`; all 1 for None."""
    if positive_share is None:
        return np.ones(len(truth))
    share = truth.mean()
    weights: Floats = np.where(truth, positive_share / share, (1 - positive_share) / (1 - share))
    return weights


def fit_scale(logits: Floats, truth: Truth, weights: Floats, method: Method = "platt") -> Scale:
    """The scale of least log loss. 'temperature' has no offset; 'platt' has one and moves the targets off 0 and 1.

    The targets (n+ + 1) / (n+ + 2) and 1 / (n- + 2) keep the slope finite where the classes do not overlap.
    Sources: Platt 1999, sec. 2.2; Guo et al., arXiv 1706.04599, sec. 4.2.
    """
    if method not in METHODS:
        raise ValueError(f"method: {method!r} given, accepted are {', '.join(METHODS)}")
    num_positive = int(truth.sum())
    targets = np.where(truth, (num_positive + 1) / (num_positive + 2), 1 / (len(truth) - num_positive + 2))
    free = np.array([1.0, 1.0 if method == "platt" else 0.0])
    spread = max(float(logits.std()), 1e-9)  # the search is on logits of spread 1, else its steps have two scales

    def loss_and_gradient(values: Floats) -> tuple[float, Floats]:
        scaled = values[0] * logits / spread + values[1]
        loss = float((weights * (np.logaddexp(0, scaled) - targets * scaled)).mean())
        residual = weights * (expit(scaled) - targets) / len(truth)
        return loss, np.array([(residual * logits / spread).sum(), residual.sum()]) * free

    bounds = [(_SLOPES[0] * spread, _SLOPES[1] * spread), (None, None)]
    found = minimize(loss_and_gradient, np.array([spread, 0.0]), jac=True, method="L-BFGS-B", bounds=bounds, tol=1e-12)
    return Scale(float(found.x[0] / spread), float(found.x[1]))


def cross_fit_probabilities(
    logits: Floats, truth: Truth, folds: npt.NDArray[np.int64], weights: Floats, method: Method
) -> Floats:
    """(N,) probabilities, each fold's by the scale of the other folds: no picture has calibrated itself."""
    probabilities = np.zeros(len(logits))
    for fold in np.unique(folds):
        held, rest = folds == fold, folds != fold
        probabilities[held] = fit_scale(logits[rest], truth[rest], weights[rest], method)(logits[held])
    return probabilities


def area_under_curve(scores: Floats, truth: Truth) -> float:
    """The chance that a positive's score is above another's, ties counting half (Mann-Whitney)."""
    num_positive = int(truth.sum())
    ranks = rankdata(scores)
    above = float(ranks[truth].sum()) - num_positive * (num_positive + 1) / 2
    return above / (num_positive * (len(truth) - num_positive))


def area_interval(
    scores: Floats, truth: Truth, units: npt.NDArray[np.int64], *, num_draws: int = 200, seed: int = 0
) -> tuple[float, float]:
    """95 % interval of the area: a bootstrap over `units`, which hold together what looks the same."""
    rng = np.random.default_rng(seed)
    order = np.argsort(units, kind="stable")
    starts = np.flatnonzero(np.diff(units[order], prepend=-1))
    members = np.split(order, starts[1:])
    areas = []
    for _ in range(num_draws):
        rows = np.concatenate([members[at] for at in rng.integers(len(members), size=len(members))])
        if truth[rows].any() and not truth[rows].all():
            areas.append(area_under_curve(scores[rows], truth[rows]))
    low, high = np.percentile(areas, [2.5, 97.5]) if areas else (0.0, 1.0)
    return float(low), float(high)


def brier_score(probabilities: Floats, truth: Truth, weights: Floats) -> float:
    """Mean squared distance of probability and truth."""
    return float(np.average((probabilities - truth) ** 2, weights=weights))


def log_loss(probabilities: Floats, truth: Truth, weights: Floats) -> float:
    """Mean negative log probability of the truth, in nats."""
    told = np.clip(np.where(truth, probabilities, 1 - probabilities), 1e-15, 1)
    return float(np.average(-np.log(told), weights=weights))


@dataclass(frozen=True)
class ReliabilityBin:
    """Pictures of near probability: how many, the mean told, the share that was true, and its Wilson interval."""

    num: int
    weight: float
    mean_probability: float
    positive_share: float
    share_low: float
    share_high: float


def reliability_table(
    probabilities: Floats, truth: Truth, weights: Floats, *, num_bins: int = 12, confidence: float = 0.95
) -> tuple[ReliabilityBin, ...]:
    """At most `num_bins` bins of about equal numbers of pictures, by rising probability; equal values share a bin."""
    order = np.argsort(probabilities, kind="stable")
    ordered = probabilities[order]
    wanted = np.arange(1, num_bins) * len(ordered) // num_bins
    cuts = np.unique(np.searchsorted(ordered, ordered[wanted], side="left"))
    table = []
    for rows in np.split(order, cuts[cuts > 0]):
        weight = weights[rows]
        share = float(np.average(truth[rows], weights=weight))
        effective = float(weight.sum() ** 2 / (weight**2).sum())
        low, high = wilson_interval(share * effective, effective, 1 - (1 - confidence) / 2)
        table.append(
            ReliabilityBin(
                num=len(rows),
                weight=float(weight.sum() / weights.sum()),
                mean_probability=float(np.average(probabilities[rows], weights=weight)),
                positive_share=share,
                share_low=low,
                share_high=high,
            )
        )
    return tuple(table)


def middle_table(probabilities: Floats, truth: Truth, weights: Floats) -> tuple[ReliabilityBin, ...]:
    """The same of those in `MIDDLE` alone: a good classifier has few there, which bins of equal numbers swallow."""
    inside = (probabilities > MIDDLE[0]) & (probabilities < MIDDLE[1])
    num_bins = min(6, int(inside.sum()) // 8)
    return (
        reliability_table(probabilities[inside], truth[inside], weights[inside], num_bins=num_bins) if num_bins else ()
    )


def expected_calibration_error(table: Sequence[ReliabilityBin]) -> float:
    """Mean over the bins of |told - true|, by weight. Of finite samples it is above 0 even for a perfect classifier."""
    return sum(one.weight * abs(one.mean_probability - one.positive_share) for one in table)


def perfect_calibration_error(
    probabilities: Floats, weights: Floats, *, num_draws: int = 200, seed: int = 0
) -> tuple[float, float]:
    """Mean and 95th percentile of the calibration error, were these probabilities exactly right."""
    rng = np.random.default_rng(seed)
    errors = []
    for _ in range(num_draws):
        truth = rng.random(len(probabilities)) < probabilities
        errors.append(expected_calibration_error(reliability_table(probabilities, truth, weights)))
    return float(np.mean(errors)), float(np.percentile(errors, 95))


def wilson_interval(successes: float, num: float, confidence: float) -> tuple[float, float]:
    """The two Wilson bounds of a share, each one-sided at `confidence`; (0, 1) of no trials. Source: Wilson 1927."""
    if num <= 0:
        return 0.0, 1.0
    z = float(norm.ppf(confidence))
    share = successes / num
    centre = (share + z * z / (2 * num)) / (1 + z * z / num)
    half = z / (1 + z * z / num) * np.sqrt(share * (1 - share) / num + z * z / (4 * num * num))
    return max(0.0, float(centre - half)), min(1.0, float(centre + half))


def num_needed(precision: float, confidence: float, share: float | None = None) -> int:
    """How many pictures, none decided wrongly, can show this precision at all.

    Without a share: decisions of the side, n / (n + z^2) >= precision. With the side's share of the pool: pictures of
    the other class, whose false rate must be shown to be at most share (1 - precision) / ((1 - share) precision).
    """
    z = float(norm.ppf(confidence))
    if share is None:
        return int(np.ceil(z * z * precision / (1 - precision)))
    allowed = share * (1 - precision) / ((1 - share) * precision)
    return max(0, int(np.ceil(z * z * (1 - allowed) / allowed)))
