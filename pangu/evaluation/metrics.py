"""From features and embeddings to the rows of the metrics artifact: value, interval, count, stratum and what to know.

One row is one number that may be read alone: its note says everything that would make it mislead.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pangu.evaluation.clip_score import clip_score
from pangu.evaluation.features import ExtractorCard, ImageFeatures
from pangu.evaluation.frechet import frechet_interval
from pangu.evaluation.inception_score import inception_interval
from pangu.evaluation.intervals import Interval, bootstrap_mean
from pangu.evaluation.kernel import kernel_interval

ALL = "all"
# Below this the bias of a Frechet distance is larger than most differences between models (arXiv 1911.07023).
MIN_IMAGES_FOR_FRECHET = 2048
_MIN_IMAGES_FOR_INCEPTION_SCORE = 5000
_MIN_STRATUM = 8


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


def evaluate(given: EvaluationInput, *, seed: int = 0) -> list[MetricRow]:
    """Return the rows for the whole set, then for every stratum with at least 8 images, in a fixed order."""
    count = given.num_images
    rows = _evaluate_part(given, np.ones(count, dtype=bool), stratum=ALL, reference={}, seed=seed)
    for name in sorted(given.strata):
        labels = np.asarray([label if label is not None else "" for label in given.strata[name]], dtype=object)
        for label in sorted({str(label) for label in labels if label}):
            chosen = labels == label
            if int(chosen.sum()) < _MIN_STRATUM:
                continue
            reference = {} if name not in given.reference_strata else {name: label}
            rows += _evaluate_part(given, chosen, stratum=f"{name}={label}", reference=reference, seed=seed)
    return rows


def _evaluate_part(
    given: EvaluationInput, chosen: NDArray[np.bool_], *, stratum: str, reference: Mapping[str, str], seed: int
) -> list[MetricRow]:
    """Return the rows of one stratum."""
    rows: list[MetricRow] = []
    for pair in given.features:
        generated = pair.generated.select(chosen)
        compared, compared_note = _select_reference(pair.reference, given, reference, stratum)
        rows += _feature_rows(generated, compared, stratum=stratum, compared_note=compared_note, seed=seed)
    for captions in given.captions:
        interval = clip_score(captions.images[chosen], captions.prompts[chosen], seed=seed)
        rows.append(_row("clip_score", interval, int(chosen.sum()), stratum, captions.card, []))
    for metric in sorted(given.per_image):
        card, values = given.per_image[metric]
        finite = values[chosen][np.isfinite(values[chosen])]
        if len(finite):
            rows.append(_row(metric, bootstrap_mean(finite, seed=seed), len(finite), stratum, card, []))
    return rows


def _select_reference(
    reference: ImageFeatures, given: EvaluationInput, wanted: Mapping[str, str], stratum: str
) -> tuple[ImageFeatures, str]:
    """Return the reference images of the same stratum, or all of them with a note that says so."""
    if stratum == ALL:
        return reference, ""
    for name, label in wanted.items():
        chosen = np.asarray([candidate == label for candidate in given.reference_strata[name]])
        if int(chosen.sum()) >= _MIN_STRATUM:
            return reference.select(chosen), ""
    return reference, "Compared with the whole reference set: it has no such stratum."


def _feature_rows(
    generated: ImageFeatures, reference: ImageFeatures, *, stratum: str, compared_note: str, seed: int
) -> list[MetricRow]:
    """Return Frechet distance, kernel distance and, where there is a classifier, the inception score."""
    card, count = generated.card, len(generated)
    smaller = min(count, len(reference))
    if smaller < 2:
        return []
    notes = [compared_note, f"Reference: {len(reference)} images."]
    distance = frechet_interval(generated.features, reference.features, seed=seed)
    kernel = kernel_interval(generated.features, reference.features, seed=seed)
    rows = [
        _row("kid", kernel, count, stratum, card, notes),
        _row(
            # The name FID is kept for the network that papers use: another one's distance is on another scale.
            "fid" if card.published else "frechet_distance",
            distance,
            count,
            stratum,
            card,
            [_frechet_warning(smaller, card.num_dims), *notes],
        ),
    ]
    if generated.logits is not None:
        score = inception_interval(generated.logits, seed=seed)
        rows.append(_row("inception_score", score, count, stratum, card, [_inception_warning(count, card)]))
    return rows


def _frechet_warning(smaller: int, num_dims: int) -> str:
    """Return the sentence that a Frechet distance of too few images must carry, or nothing."""
    if smaller >= max(MIN_IMAGES_FOR_FRECHET, num_dims + 1):
        return ""
    reason = f"fewer than {MIN_IMAGES_FOR_FRECHET} images"
    if smaller <= num_dims:
        reason = f"fewer images than the {num_dims} feature dimensions, so the covariance is rank-deficient"
    return f"NOT MEANINGFUL at n={smaller}: {reason}. Read KID instead."


def _inception_warning(count: int, card: ExtractorCard) -> str:
    """Return the sentences that an inception score of few images or of another network must carry."""
    sentences = []
    if count < _MIN_IMAGES_FOR_INCEPTION_SCORE:
        sentences.append(f"Biased low at n={count} (one split; published scores use 50,000 images in ten).")
    if not card.published:
        sentences.append("Classes are those of this network, not Inception's: compare only with itself.")
    return " ".join(sentences)


def _row(
    metric: str, interval: Interval, count: int, stratum: str, card: ExtractorCard, notes: Sequence[str]
) -> MetricRow:
    """Return one row; a model that had another part in making these images is flagged before anything else."""
    flags = [f"NOT INDEPENDENT: this model also {' and '.join(card.other_uses)}."] if card.other_uses else []
    bounded = np.isfinite(interval.low) and np.isfinite(interval.high)
    return MetricRow(
        metric=metric,
        value=interval.value,
        low=interval.low if bounded else None,
        high=interval.high if bounded else None,
        n=count,
        stratum=stratum,
        extractor=card.label,
        note=" ".join(sentence for sentence in [*flags, *notes] if sentence),
    )
