"""Nights of an evaluation as the alarm sees them: numbers under their cards, means over images paired by prompt."""

import math
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from typing import Any

from pangu.evaluation.metrics import ALL
from pangu.evaluation.regression import NightValue
from ray_jobs.evaluation_cards import night_card
from ray_jobs.evaluation_sides import strata_of
from ray_jobs.manifest import Manifest
from ray_jobs.parts import read_rows
from ray_jobs.picture_scores import IMAGE_METRICS, per_prompt, read_picture_scores
from ray_jobs.store import Store
from ray_jobs.versions import Versions

_WIDTH_IN_ERRORS = 2 * 1.96
"""A 95 % interval spans so many standard errors."""

Rows = list[dict[str, Any]]


def strata_members(pictures: Rows) -> dict[str, Rows]:
    """Stratum ("all" or "name=label") -> the measured pictures in it. pictures: rows of the picture scores."""
    measured = [row for row in pictures if row["reason"] is None]
    by_key = {row["key"]: row for row in measured}
    found = {ALL: measured}
    for name, labels in strata_of(pictures).items():
        for key, label in labels.items():
            found.setdefault(f"{name}={label}", []).append(by_key[key])
    return found


def standard_error(row: Mapping[str, Any]) -> float | None:
    """The standard error behind a number's 95 % interval, or None where it has none."""
    bounds = (row["value"], row["low"], row["high"])
    if any(bound is None or not math.isfinite(bound) for bound in bounds):
        return None
    return float(row["high"] - row["low"]) / _WIDTH_IN_ERRORS


class EvaluatedModel:
    """One version of the metrics; models that stay the same over many nights are read once."""

    def __init__(self, store: Store, version: Manifest) -> None:
        """Take a committed version of ``metrics``."""
        self.store, self.version = store, version
        self._paired: dict[tuple[str, str], dict[str, float]] = {}

    @cached_property
    def rows(self) -> Rows:
        """Its numbers."""
        rows: Rows = read_rows(self.store, self.version).to_pylist()
        return rows

    @cached_property
    def members(self) -> dict[str, Rows]:
        """Its pictures by stratum; none where it was made before pictures kept their scores."""
        if "picture_scores" not in self.version.facts:
            return {}
        return strata_members(read_picture_scores(self.store, self.version).to_pylist())

    def per_prompt(self, metric: str, stratum: str) -> dict[str, float] | None:
        """Prompt id -> value where the metric is a mean over images, else None."""
        if metric not in IMAGE_METRICS or stratum not in self.members:
            return None
        if (metric, stratum) not in self._paired:
            self._paired[metric, stratum] = per_prompt(self.members[stratum], metric)
        return self._paired[metric, stratum] or None


def night_values(nights: Iterable[Manifest], store: Store, strata: Iterable[str]) -> Iterator[NightValue]:
    """The numbers of every night that have an interval, each under its card and its model's name.

    nights: versions of ``nights``. strata: names of the stratifications to look at, "all" for the whole set. Versions of
    the metrics that record no cards are left out, since nobody can say what they may be compared with.
    """
    versions, evaluated = Versions(store), dict[str, EvaluatedModel]()
    wanted = set(strata)
    for night in nights:
        for model, facts in night.facts["models"].items():
            key = facts["metrics"]
            if key not in evaluated:
                found = versions.find("metrics", key)
                if found is None:
                    continue
                evaluated[key] = EvaluatedModel(store, found)
            yield from _values_of(str(night.facts["night"]), str(model), evaluated[key], wanted)


def _values_of(night: str, model: str, evaluated: EvaluatedModel, wanted: set[str]) -> Iterator[NightValue]:
    for row in evaluated.rows:
        card = night_card(evaluated.version.facts, row["extractor"])
        error = standard_error(row)
        if card is None or error is None or row["stratum"].partition("=")[0] not in wanted:
            continue
        yield NightValue(
            night,
            row["metric"],
            row["stratum"],
            row["value"],
            card,
            standard_error=error,
            per_prompt=evaluated.per_prompt(row["metric"], row["stratum"]),
            model=model,
        )
