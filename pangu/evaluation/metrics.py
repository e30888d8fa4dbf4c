"""From features and embeddings to the rows of the metrics artifact: value, interval, count, stratum and what to know.

One row is one number that may be read alone: its note says everything that would make it mislead.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:  # reading rows needs no networks
    from pangu.evaluation.features import ExtractorCard
    from pangu.evaluation.metric import Measurement, Metric
    from pangu.evaluation.partial_state import PartialState

ALL = "all"
MIN_STRATUM = 8


@dataclass(frozen=True)
class MetricRow:
    """One row of the metrics artifact. low and high are null where no interval can be given.

    stratum: "all" or "name=label". extractor: the label of the network's card. note: empty, or sentences.
    """

    metric: str
    value: float
    low: float | None
    high: float | None
    n: int
    stratum: str
    extractor: str
    note: str


def evaluate_states(
    metrics: Sequence["Metric"],
    generated: Mapping[str, "PartialState"],
    reference: Mapping[str, "PartialState"],
    *,
    strata: Mapping[str, Mapping[str, str]] | None = None,
    reference_strata: Mapping[str, Mapping[str, str]] | None = None,
    seed: int = 0,
) -> list[MetricRow]:
    """Return the rows of all metrics for the whole set, then for every stratum with at least 8 images, in fixed order.

    generated, reference: name of an extractor -> its merged state. strata: name -> {key of a generated image: label};
    reference_strata: the same for the reference, and a stratum without a counterpart there is compared with all of it.
    Each name is a stratification of its own ("style", "language", "bucket", "category").
    """
    for name, state in generated.items():
        if name in reference and reference[name].card != state.card:
            received = reference[name].card.label
            raise ValueError(f"reference: received features of {received}, accepted: {state.card.label}")
    rows = _rows_of(metrics, generated, reference, stratum=ALL, note="", seed=seed)
    for name in sorted(strata or {}):
        members = _members((strata or {})[name])
        counterparts = _members((reference_strata or {}).get(name, {}))
        for label, keys in members.items():
            part = {slot: state.select(keys) for slot, state in generated.items()}
            if max((state.count for state in part.values()), default=0) < MIN_STRATUM:
                continue
            others, note = _counterpart(reference, counterparts.get(label, frozenset()))
            rows += _rows_of(metrics, part, others, stratum=f"{name}={label}", note=note, seed=seed)
    return rows


def _members(labels: Mapping[str, str]) -> dict[str, frozenset[str]]:
    """Return label -> keys, in the order of the labels."""
    return {
        wanted: frozenset(k for k, label in labels.items() if label == wanted)
        for wanted in sorted(set(labels.values()))
    }


def _counterpart(
    reference: Mapping[str, "PartialState"], keys: frozenset[str]
) -> tuple[dict[str, "PartialState"], str]:
    """Return the reference images of the same stratum, or all of them with a note that says so."""
    part = {slot: state.select(keys) for slot, state in reference.items()}
    if part and min(state.count for state in part.values()) >= MIN_STRATUM:
        return part, ""
    return dict(reference), "Compared with the whole reference set: it has no such stratum."


def _rows_of(
    metrics: Sequence["Metric"],
    generated: Mapping[str, "PartialState"],
    reference: Mapping[str, "PartialState"],
    *,
    stratum: str,
    note: str,
    seed: int,
) -> list[MetricRow]:
    """Return the rows of one stratum."""
    rows = []
    for metric in metrics:
        state, other = generated[metric.extractor], reference.get(metric.extractor)
        if not state.count:
            continue
        for found in metric.compute(state, other, seed=seed):
            compared = note if metric.needs.rows and not metric.needs.logits else ""
            rows.append(_row(found, stratum, state.card, compared))
    return rows


def _row(found: "Measurement", stratum: str, card: "ExtractorCard", compared: str) -> MetricRow:
    """Return one row; a model that had another part in making these images is flagged before anything else."""
    flags = [f"NOT INDEPENDENT: this model also {' and '.join(card.other_uses)}."] if card.other_uses else []
    interval = found.interval
    bounded = np.isfinite(interval.low) and np.isfinite(interval.high)
    return MetricRow(
        metric=found.metric,
        value=interval.value,
        low=interval.low if bounded else None,
        high=interval.high if bounded else None,
        n=found.n,
        stratum=stratum,
        extractor=card.label,
        note=" ".join(sentence for sentence in [*flags, *found.notes, compared] if sentence),
    )
