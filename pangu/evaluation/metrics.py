"""From features and embeddings to the rows of the metrics artifact: value, interval, count, stratum and what to know.

One row is one number that may be read alone: its note says everything that would make it mislead.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pangu.evaluation.clip_score import clip_scores
from pangu.evaluation.distribution_metrics import FrechetDistance, InceptionScore, KernelDistance
from pangu.evaluation.features import ExtractorCard, ImageFeatures
from pangu.evaluation.image_metrics import GivenMean
from pangu.evaluation.metric import Measurement, Metric
from pangu.evaluation.partial_state import PartialState, make_state

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


@dataclass(frozen=True)
class FeaturePair:
    """Features of the generated and of the reference images, by one and the same network."""

    generated: ImageFeatures
    reference: ImageFeatures

    def __post_init__(self) -> None:
        """Refuse two networks, or two resize modes: their distance would mean nothing."""
        if self.generated.card != self.reference.card:
            raise ValueError(
                f"reference: received features of {self.reference.card.label}, accepted: {self.generated.card.label}"
            )


@dataclass(frozen=True)
class CaptionPair:
    """Embeddings of the generated images and of their prompts: (N, E) each, row by row, by one named model."""

    card: ExtractorCard
    images: NDArray[Any]
    prompts: NDArray[Any]


@dataclass(frozen=True)
class EvaluationInput:
    """Everything an evaluation reads; every sequence is in the order of the N generated images.

    strata: name -> a label an image ("style" -> ["cartoon", ...]); None leaves an image out of that stratum.
    reference_strata: the same for the reference images; a stratum without a counterpart is compared with all of them.
    per_image: metric -> values (N,) that are only averaged ("aesthetic"), with the card of the model that gave them.
    """

    features: Sequence[FeaturePair] = ()
    captions: Sequence[CaptionPair] = ()
    per_image: Mapping[str, tuple[ExtractorCard, NDArray[Any]]] = field(default_factory=dict)
    strata: Mapping[str, Sequence[str | None]] = field(default_factory=dict)
    reference_strata: Mapping[str, Sequence[str | None]] = field(default_factory=dict)

    @property
    def num_images(self) -> int:
        """N, the number of generated images."""
        counts = {len(pair.generated) for pair in self.features} | {len(pair.images) for pair in self.captions}
        counts |= {len(values) for _, values in self.per_image.values()}
        counts |= {len(labels) for labels in self.strata.values()}
        if len(counts) != 1:
            raise ValueError(f"evaluation: received sequences of {sorted(counts)} images, accepted: one common number")
        return counts.pop()


def evaluate_states(
    metrics: Sequence[Metric],
    generated: Mapping[str, PartialState],
    reference: Mapping[str, PartialState],
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


def _counterpart(reference: Mapping[str, PartialState], keys: frozenset[str]) -> tuple[dict[str, PartialState], str]:
    """Return the reference images of the same stratum, or all of them with a note that says so."""
    part = {slot: state.select(keys) for slot, state in reference.items()}
    if part and min(state.count for state in part.values()) >= MIN_STRATUM:
        return part, ""
    return dict(reference), "Compared with the whole reference set: it has no such stratum."


def _rows_of(
    metrics: Sequence[Metric],
    generated: Mapping[str, PartialState],
    reference: Mapping[str, PartialState],
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


def _row(found: Measurement, stratum: str, card: ExtractorCard, compared: str) -> MetricRow:
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


def evaluate(given: EvaluationInput, *, seed: int = 0) -> list[MetricRow]:
    """Return the rows of arrays that are in memory already, by `evaluate_states`; FID and KID of every pair."""
    keys = [f"{row:09d}" for row in range(given.num_images)]
    metrics: list[Metric] = []
    generated: dict[str, PartialState] = {}
    reference: dict[str, PartialState] = {}
    other_keys: list[str] = []
    for index, pair in enumerate(given.features):
        slot = f"features {index}"
        other_keys = [f"{row:09d}" for row in range(len(pair.reference))]
        generated[slot], reference[slot] = make_state(keys, pair.generated), make_state(other_keys, pair.reference)
        metrics += [KernelDistance(slot), FrechetDistance(slot, at_infinity=False), InceptionScore(slot)]
    per_image = {
        f"clip_score {index}": ("clip_score", each.card, clip_scores(each.images, each.prompts))
        for index, each in enumerate(given.captions)
    }
    per_image |= {name: (name, *given.per_image[name]) for name in sorted(given.per_image)}
    for slot, (name, card, values) in per_image.items():
        empty = ImageFeatures(card, np.zeros((len(keys), card.num_dims), dtype=np.float32))
        generated[slot] = make_state(keys, empty, values={name: values}, keep_rows=False)
        metrics.append(GivenMean(slot, name))
    strata = {name: _by_key(keys, labels) for name, labels in given.strata.items()}
    counterparts = {name: _by_key(other_keys, labels) for name, labels in given.reference_strata.items()}
    return evaluate_states(metrics, generated, reference, strata=strata, reference_strata=counterparts, seed=seed)


def _by_key(keys: Sequence[str], labels: Sequence[str | None]) -> dict[str, str]:
    """Return key -> label for the images that have one."""
    return {key: label for key, label in zip(keys, labels, strict=True) if label}
