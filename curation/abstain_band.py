"""The two thresholds between which a classifier abstains: each sure side shown to be as precise as wanted."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, model_validator

from curation.calibration import Floats, Truth, wilson_interval

_GRID = 10_000
"""Thresholds are multiples of 1 / this, so that they read well in a config."""


class BandSettings(BaseModel):
    """What the sure sides must keep, and how narrow the band may become.

    A band is never narrower than `narrowest`: where the labelled pictures separate perfectly, what is like none of
    them still lands in the middle.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    precision: float = Field(0.95, gt=0.5, lt=1)
    confidence: float = Field(0.95, gt=0.5, lt=1)
    positive_share: float | None = Field(None, gt=0, lt=1)
    narrowest: tuple[float, float] = (0.3, 0.7)

    @model_validator(mode="after")
    def _check(self) -> "BandSettings":
        low, high = self.narrowest
        if not 0 < low <= 0.5 <= high < 1:
            raise ValueError(f"narrowest must have 0 < low <= 0.5 <= high < 1; got ({low}, {high})")
        return self


@dataclass(frozen=True)
class SureSide:
    """One side of the band. `is_shown`: the lower bound reaches the wanted precision; else the side is given up."""

    threshold: float
    is_shown: bool
    num: int
    num_right: int
    precision: float | None
    precision_low: float
    recall: float


@dataclass(frozen=True)
class Band:
    """p >= positive.threshold: positive; p <= negative.threshold: not; between them: left open."""

    negative: SureSide
    positive: SureSide

    @property
    def low(self) -> float:
        """At or below: not of the style."""
        return self.negative.threshold

    @property
    def high(self) -> float:
        """At or above: of the style."""
        return self.positive.threshold


def choose_band(probabilities: Floats, truth: Truth, settings: BandSettings) -> Band:
    """The narrowest band that keeps `settings`; a side that nothing shows becomes 0 or 1, where it decides nothing."""
    positive = _choose_side(probabilities, truth, settings, settings.narrowest[1], settings.positive_share)
    share = settings.positive_share
    mirrored = _choose_side(
        1 - probabilities, ~truth, settings, 1 - settings.narrowest[0], None if share is None else 1 - share
    )
    low = round(1 - mirrored.threshold, 9)
    return Band(SureSide(**(vars(mirrored) | {"threshold": low})), positive)


def measure_band(probabilities: Floats, truth: Truth, low: float, high: float, settings: BandSettings) -> Band:
    """What a given band does on these pictures."""
    share = settings.positive_share
    negative = _measure(probabilities <= low, ~truth, settings, None if share is None else 1 - share, low)
    return Band(negative, _measure(probabilities >= high, truth, settings, share, high))


def cross_fit_band(
    probabilities: Floats, truth: Truth, folds: npt.NDArray[np.int64], settings: BandSettings
) -> tuple[npt.NDArray[np.int64], tuple[Band, ...]]:
    """Decisions (N,) of each fold by the band that the other folds chose, 1, -1 or 0 for open; and those bands.

    A threshold taken where it just suffices is flattered by the pictures that chose it; these decisions are not.
    """
    decisions = np.zeros(len(probabilities), dtype=np.int64)
    bands = []
    for fold in np.unique(folds):
        held = folds == fold
        band = choose_band(probabilities[~held], truth[~held], settings)
        decisions[held] = decide(probabilities[held], band.low, band.high)
        bands.append(band)
    return decisions, tuple(bands)


def decide(probabilities: Floats, low: float, high: float) -> npt.NDArray[np.int64]:
    """(N,) 1 of the style, -1 not, 0 open."""
    return np.where(probabilities >= high, 1, np.where(probabilities <= low, -1, 0)).astype(np.int64)


def sides_of_decisions(
    decisions: npt.NDArray[np.int64], truth: Truth, settings: BandSettings
) -> tuple[SureSide, SureSide]:
    """The negative and the positive side of decisions that no single threshold made (their threshold is NaN)."""
    share = settings.positive_share
    return (
        _measure(decisions == -1, ~truth, settings, None if share is None else 1 - share, float("nan")),
        _measure(decisions == 1, truth, settings, share, float("nan")),
    )


def _choose_side(
    probabilities: Floats, truth: Truth, settings: BandSettings, lowest: float, share: float | None
) -> SureSide:
    """The smallest threshold of at least `lowest` whose side is shown; 1 where none is."""
    candidates = np.unique(np.ceil(np.append(probabilities[probabilities >= lowest], lowest) * _GRID) / _GRID)
    for threshold in candidates[candidates < 1]:
        side = _measure(probabilities >= threshold, truth, settings, share, float(threshold))
        if side.is_shown:
            return side
    given_up = _measure(np.zeros(len(truth), dtype=bool), truth, settings, share, 1.0)
    return SureSide(**(vars(given_up) | {"is_shown": False}))


def _measure(
    is_sure: npt.NDArray[np.bool_], truth: Truth, settings: BandSettings, share: float | None, threshold: float
) -> SureSide:
    num, right, total = int(is_sure.sum()), int((is_sure & truth).sum()), int(truth.sum())
    others = len(truth) - total
    if share is None:
        precision = right / num if num else None
        low = wilson_interval(right, num, settings.confidence)[0]
    else:
        precision = _precision(right / total, (num - right) / others, share) if num else None
        recall_low = wilson_interval(right, total, settings.confidence)[0]
        wrong_high = wilson_interval(num - right, others, settings.confidence)[1]
        low = _precision(recall_low, wrong_high, share) if num else 0.0
    return SureSide(
        threshold=threshold,
        is_shown=low >= settings.precision,
        num=num,
        num_right=right,
        precision=precision,
        precision_low=low,
        recall=right / total if total else 0.0,
    )


def _precision(recall: float, false_rate: float, share: float) -> float:
    """Bayes: the precision in a pool with this share."""
    hits = share * recall
    return hits / (hits + (1 - share) * false_rate) if hits else 0.0


@dataclass(frozen=True)
class StratumRow:
    """One label's, group's or fold's pictures by decision; `num_wrong` counts sure decisions against the label."""

    name: str
    num: int
    num_positive: int
    called_positive: int
    called_other: int
    left_open: int
    num_wrong: int
    wrong_high: float
    mean_probability: float


def stratum_table(
    names: Sequence[str], probabilities: Floats, truth: Truth, decisions: npt.NDArray[np.int64], confidence: float
) -> tuple[StratumRow, ...]:
    """A row for each name, by falling number of pictures; `wrong_high` is Wilson's upper bound of the share wrong."""
    found: dict[str, list[int]] = {}
    for row, name in enumerate(names):
        found.setdefault(name, []).append(row)
    table = []
    for name, rows in sorted(found.items(), key=lambda item: (-len(item[1]), item[0])):
        taken = decisions[rows]
        wrong = int(((taken == 1) & ~truth[rows]).sum() + ((taken == -1) & truth[rows]).sum())
        table.append(
            StratumRow(
                name=name,
                num=len(rows),
                num_positive=int(truth[rows].sum()),
                called_positive=int((taken == 1).sum()),
                called_other=int((taken == -1).sum()),
                left_open=int((taken == 0).sum()),
                num_wrong=wrong,
                wrong_high=wilson_interval(wrong, len(rows), confidence)[1],
                mean_probability=float(probabilities[rows].mean()),
            )
        )
    return tuple(table)
