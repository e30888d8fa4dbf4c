"""The alarms of the site: every version of the metrics so far against the earlier ones of the same cards."""

import math
from collections.abc import Iterator
from dataclasses import replace

from pangu.evaluation.regression import AlarmRow, AlarmSettings, NightValue, alarm_history
from ray_jobs.evaluation_cards import night_card
from ray_jobs.manifest import Manifest
from ray_jobs.parts import read_rows
from ray_jobs.store import Store
from ray_jobs.versions import Versions

_WIDTH_IN_ERRORS = 2 * 1.96
"""A 95 % interval spans so many standard errors."""


def nights_of(store: Store) -> Iterator[tuple[int, str, Manifest]]:
    """Every version of the metrics once, oldest first: its number, how the site's axes name it, its manifest."""
    versions, seen = Versions(store), set()
    for entry in versions.history("metrics"):
        version = versions.find("metrics", entry.key)
        if version is not None and entry.key not in seen:
            seen.add(entry.key)
            yield entry.number, f"{version.created_at[:10]} #{entry.number}", version


def decide_alarms(store: Store, settings: AlarmSettings | None = None) -> list[AlarmRow]:
    """One row a number and night, in the nights' order; `night` is the name on the site's axes.

    Versions that record no cards are left out, since nobody can say what they may be compared with.
    """
    names = {}
    values = []
    for number, label, version in nights_of(store):
        names[night_of(number)] = label
        values += list(night_values(store, version, night_of(number)))
    return [replace(row, night=names[row.night]) for row in alarm_history(values, settings)]


def night_of(number: int) -> str:
    """A version's place in the history, as text that sorts."""
    return f"{number:08d}"


def night_values(store: Store, version: Manifest, night: str) -> Iterator[NightValue]:
    """The numbers of one version that have an interval, each under its card."""
    for row in read_rows(store, version).to_pylist():
        card = night_card(version.facts, row["extractor"])
        bounds = (row["value"], row["low"], row["high"])
        if card is None or any(bound is None or not math.isfinite(bound) for bound in bounds):
            continue
        error = (row["high"] - row["low"]) / _WIDTH_IN_ERRORS
        yield NightValue(night, row["metric"], row["stratum"], row["value"], card, standard_error=error)
