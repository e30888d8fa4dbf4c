"""The figures of a style sweep: rate and means at every scale with intervals, and what the style does from end to end."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pangu.evaluation.intervals import Interval, bootstrap_mean, rate_interval
from ray_jobs.job_configs import SweepStyles
from ray_jobs.judge_figures import paired_difference, trend_figure

Floats = NDArray[np.float64]
CARTOON_FROM = 0.5
"""From which probability on a picture counts as a cartoon: more likely than not, so that no band hides a change."""
_OWN = {"cartoon": "cartoon_probability", "aesthetic": "aesthetic"}
"""Style -> the score that it is meant to raise; CLIP score for any other."""


def sweep_facts(rows: Sequence[dict[str, Any]], config: SweepStyles, scorer: dict[str, Any]) -> dict[str, Any]:
    """``sweeps``: a style's curves and statement each; ``scorer``, ``seed`` beside them. rows: of `SWEPT`."""
    sweeps = []
    for style in config.styles:
        table = _by_scale(rows, style, config.scales)
        sweeps.append({"style": style, "curves": _curves(table), "statement": _statement(style, table)})
    return {"sweeps": sweeps, "scorer": scorer, "cartoon_from": CARTOON_FROM}


_Table = dict[float, dict[int, dict[str, Any]]]


def _by_scale(rows: Sequence[dict[str, Any]], style: str, scales: Sequence[float]) -> _Table:
    """Scale -> place of the prompt -> row; scale 0 is everybody's."""
    found: _Table = {scale: {} for scale in scales}
    for row in rows:
        if row["reason"] is None and row["scale"] in found and row["style"] in (None, style):
            found[row["scale"]][row["place"]] = row
    return found


def _curves(table: _Table) -> list[dict[str, Any]]:
    """metric and its points (scale, value, low, high, n); what no picture has is left out."""
    curves = []
    for metric, column in (
        ("cartoon_rate", "cartoon_probability"),
        ("cartoon_probability", "cartoon_probability"),
        ("aesthetic", "aesthetic"),
        ("clip_score", "clip_score"),
    ):
        points = []
        for scale, rows in table.items():
            values = _values(rows, column)
            if len(values):
                found = _rate(values) if metric == "cartoon_rate" else bootstrap_mean(values)
                points.append(_point(scale, found, len(values)))
        if points:
            curves.append({"metric": metric, "points": points})
    return curves


def _values(rows: dict[int, dict[str, Any]], column: str) -> Floats:
    found = [row[column] for _, row in sorted(rows.items()) if row[column] is not None]
    return np.asarray(found, dtype=np.float64)


def _rate(values: Floats) -> Interval:
    return rate_interval(int((values >= CARTOON_FROM).sum()), len(values))


def _point(scale: float, found: Interval, n: int) -> dict[str, Any]:
    bounded = bool(np.isfinite(found.low) and np.isfinite(found.high))
    low, high = (found.low, found.high) if bounded else (None, None)
    return {"scale": scale, "value": found.value, "low": low, "high": high, "n": n}


def _statement(style: str, table: _Table) -> str:
    """What the style does to its own score, paired over the prompts that have a picture at every scale."""
    column = _OWN.get(style, "clip_score")
    everywhere = sorted(set.intersection(*(set(rows) for rows in table.values())))
    values = np.asarray([[row[place][column] for place in everywhere] for row in table.values()], dtype=np.float64)
    if values.size == 0 or np.isnan(values).all():
        return f"No score tells what {style} does: the scorer has no such head, or no prompt has every picture."
    if column == "cartoon_probability":
        trend = trend_figure(style, list(table), np.asarray(values >= CARTOON_FROM, np.float64), values, {})
        return f"{trend.statement}; from first to last {_signed(trend.rise)}, paired over {len(everywhere)} prompts"
    change = paired_difference(values[-1], values[0])
    name = column.replace("_", " ")
    return f"{name} from first to last {_signed(change)}, paired over {len(everywhere)} prompts"


def _signed(found: Any) -> str:  # noqa: ANN401 value, low and high
    return f"{found.value:+.3f} ({found.low:+.3f} to {found.high:+.3f})"
