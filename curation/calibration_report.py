"""Measures a fitted style head on held-out values, and says what to beware of."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from curation.abstain_band import (
    Band,
    BandSettings,
    StratumRow,
    SureSide,
    choose_band,
    cross_fit_band,
    measure_band,
    sides_of_decisions,
    stratum_table,
)
from curation.calibration import (
    Floats,
    Method,
    ReliabilityBin,
    Scale,
    Truth,
    area_interval,
    area_under_curve,
    brier_score,
    cross_fit_probabilities,
    expected_calibration_error,
    fit_scale,
    log_loss,
    middle_table,
    num_needed,
    perfect_calibration_error,
    pool_weights,
    reliability_table,
)

Ints = npt.NDArray[np.int64]
FEW_PICTURES = 200
"""Below so many a class, one picture moves the figures by more than they are read to."""


@dataclass(frozen=True)
class HeldOut:
    """What is known of each used picture, (N,) each; `logits` and `scale_logits` as `style_probe.ProbeFit` has them."""

    sha256s: Sequence[str]
    logits: Floats
    scale_logits: Floats
    truth: Truth
    folds: Ints
    units: Ints
    labels: Sequence[str]
    groups: Sequence[str | None]
    sources: Sequence[str | None]


@dataclass(frozen=True)
class Figures:
    """Of probabilities: discrimination and calibration, the weights of the pool applied."""

    brier: float
    log_loss: float
    calibration_error: float


@dataclass(frozen=True)
class Calibration:
    """`probabilities` and `decisions` (N,) are cross-fitted; `scale` and `band` are what the head is published with."""

    scale: Scale
    method: Method
    band: Band
    band_settings: BandSettings
    probabilities: Floats
    decisions: Ints
    cross_fitted: tuple[SureSide, SureSide]
    bands_of_folds: tuple[tuple[float, float], ...]
    area: float
    area_interval: tuple[float, float]
    figures: Figures
    raw_figures: Figures
    told_share_brier: float
    error_if_perfect: tuple[float, float]
    reliability: tuple[ReliabilityBin, ...]
    reliability_in_doubt: tuple[ReliabilityBin, ...]
    strata: dict[str, tuple[StratumRow, ...]]
    warnings: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """All but what is there for every picture, for a JSON file."""
        told = {name: value for name, value in asdict(self).items() if name not in ("probabilities", "decisions")}
        return told | {"band_settings": self.band_settings.model_dump()}


def calibrate(held: HeldOut, settings: BandSettings, method: Method = "platt", seed: int = 0) -> Calibration:
    """Scale, band and figures from held-out logits."""
    weights = pool_weights(held.truth, settings.positive_share)
    probabilities = cross_fit_probabilities(held.logits, held.truth, held.folds, weights, method)
    band = choose_band(probabilities, held.truth, settings)
    decisions, bands = cross_fit_band(probabilities, held.truth, held.folds, settings)
    raw = 1 / (1 + np.exp(-np.clip(held.logits, -500, 500)))
    figures, raw_figures = (_figures(told, held.truth, weights) for told in (probabilities, raw))
    share = float(np.average(held.truth, weights=weights))
    strata = {"label": stratum_table(held.labels, probabilities, held.truth, decisions, settings.confidence)}
    for kind, told in (("source", held.sources), ("group", held.groups)):
        if any(name is not None for name in told) and len(strata) < 2:
            names = [name if name is not None else "(none)" for name in told]
            strata[kind] = stratum_table(names, probabilities, held.truth, decisions, settings.confidence)
    return Calibration(
        scale=fit_scale(held.scale_logits, held.truth, weights, method),
        method=method,
        band=band,
        band_settings=settings,
        probabilities=probabilities,
        decisions=decisions,
        cross_fitted=sides_of_decisions(decisions, held.truth, settings),
        bands_of_folds=tuple((one.low, one.high) for one in bands),
        area=area_under_curve(held.logits, held.truth),
        area_interval=area_interval(held.logits, held.truth, held.units, seed=seed),
        figures=figures,
        raw_figures=raw_figures,
        told_share_brier=share * (1 - share),
        error_if_perfect=perfect_calibration_error(probabilities, weights, seed=seed),
        reliability=reliability_table(probabilities, held.truth, weights),
        reliability_in_doubt=middle_table(probabilities, held.truth, weights),
        strata=strata,
        warnings=(
            *_scale_warnings(figures, raw_figures),
            *_warnings(held, probabilities, band, decisions, strata, settings),
        ),
    )


def _scale_warnings(figures: Figures, raw_figures: Figures) -> list[str]:
    if figures.log_loss <= raw_figures.log_loss:
        return []
    return [
        f"scaling did not help on held-out folds (log loss {figures.log_loss:.4f}, before {raw_figures.log_loss:.4f}): the "
        "folds differ from each other, so the probabilities of another pool may be off too"
    ]


def _figures(probabilities: Floats, truth: Truth, weights: Floats) -> Figures:
    table = reliability_table(probabilities, truth, weights)
    return Figures(
        brier_score(probabilities, truth, weights),
        log_loss(probabilities, truth, weights),
        expected_calibration_error(table),
    )


def _warnings(
    held: HeldOut,
    probabilities: Floats,
    band: Band,
    decisions: Ints,
    strata: dict[str, tuple[StratumRow, ...]],
    settings: BandSettings,
) -> list[str]:
    found = []
    counts = {"positive": int(held.truth.sum()), "other": int((~held.truth).sum())}
    for name, number in counts.items():
        if number < FEW_PICTURES:
            found.append(
                f"only {number} {name} pictures: every figure below is rough (at least {FEW_PICTURES} advised)"
            )
        share = settings.positive_share
        if share is not None:  # the side is then shown by how few of the other class it takes
            share = share if name == "other" else 1 - share
        needed = num_needed(settings.precision, settings.confidence, share)
        if number < needed:
            shown = "negative" if (name == "other") == (share is None) else "positive"
            found.append(
                f"{number} {name} pictures cannot show a precision of {settings.precision} on the {shown} side, however "
                f"good the head: {needed} without an error are needed"
            )
    published = measure_band(probabilities, held.truth, band.low, band.high, settings)
    for name, side in (("negative", published.negative), ("positive", published.positive)):
        if not side.is_shown:
            found.append(
                f"the {name} side is given up: no threshold shows a precision of {settings.precision}; "
                "nothing is decided there"
            )
    for name, side in zip(("negative", "positive"), sides_of_decisions(decisions, held.truth, settings), strict=True):
        if side.num and side.precision_low < settings.precision:
            found.append(
                f"the {name} side, its threshold chosen by other folds, shows a precision of {side.precision_low:.3f}, "
                f"less than the wanted {settings.precision}"
            )
    if settings.positive_share is None:
        found.append(
            f"precision and probabilities are those of a pool with {held.truth.mean():.1%} positives, as labelled; in a "
            "pool with fewer, the positive side is less precise: set positive_share to what you expect"
        )
    found += _unit_warnings(held)
    for kind, table in strata.items():
        bad = [row for row in table if row.num_wrong >= 3 and row.num_wrong > (1 - settings.precision) * 2 * row.num]
        found += [
            f"{kind} {row.name!r}: {row.num_wrong} of {row.num} pictures are decided wrongly and surely"
            for row in bad[:10]
        ]
    return found


def _unit_warnings(held: HeldOut) -> list[str]:
    found = []
    sizes = Counter(held.units.tolist())
    largest = max(sizes.values())
    if largest > 0.2 * len(held.units):
        found.append(
            f"one unit (a group, or pictures that look the same) holds {largest} of {len(held.units)} pictures; "
            "its fold decides the figures"
        )
    both = set(held.units[held.truth].tolist()) & set(held.units[~held.truth].tolist())
    if both and all(group is None for group in held.groups):
        found.append(f"{len(both)} units look the same and are labelled both ways; look at them for wrong labels")
    return found
