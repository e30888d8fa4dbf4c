import dataclasses

import numpy as np
import pytest

from pangu.evaluation.distribution_metrics import FrechetDistance, InceptionScore, KernelDistance
from pangu.evaluation.features import ExtractorCard, ImageFeatures
from pangu.evaluation.image_metrics import GivenMean
from pangu.evaluation.metrics import MetricRow, evaluate_states
from pangu.evaluation.partial_state import PartialState, make_state

CARD = ExtractorCard("judge", "ab" * 32, num_dims=8, resize_mode="bicubic-64")
FILTER = dataclasses.replace(CARD, name="scorer", other_uses=("filtered the training data",))


def features(count: int, *, card: ExtractorCard = CARD, shift: float = 0.0, seed: int = 0) -> ImageFeatures:
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((count, 8)).astype(np.float32) + np.float32(shift)
    return ImageFeatures(card, values, rng.standard_normal((count, 5)).astype(np.float32))


def keys(count: int) -> list[str]:
    return [f"{row:04d}" for row in range(count)]


def evaluate(
    generated: ImageFeatures,
    reference: ImageFeatures,
    *,
    values: dict[str, np.ndarray] | None = None,
    strata: dict[str, list[str | None]] | None = None,
    reference_strata: dict[str, list[str | None]] | None = None,
) -> list[MetricRow]:
    own, other = keys(len(generated)), keys(len(reference))
    states: dict[str, PartialState] = {"judge": make_state(own, generated)}
    metrics = [KernelDistance("judge"), FrechetDistance("judge", at_infinity=False), InceptionScore("judge")]
    for name, numbers in (values or {}).items():
        states[name] = make_state(own, features(len(own), card=FILTER), values={name: numbers}, keep_rows=False)
        metrics.append(GivenMean(name, name))

    def labelled(names: list[str], given: dict[str, list[str | None]]) -> dict[str, dict[str, str]]:
        return {
            name: {k: label for k, label in zip(names, labels, strict=True) if label} for name, labels in given.items()
        }

    return evaluate_states(
        metrics,
        states,
        {"judge": make_state(other, reference)},
        strata=labelled(own, strata or {}),
        reference_strata=labelled(other, reference_strata or {}),
    )


def whole(card: ExtractorCard = CARD, *, has_counterpart: bool = True) -> list[MetricRow]:
    rng, count = np.random.default_rng(1), 64
    return evaluate(
        features(count, card=card),
        features(200, card=card, shift=0.2, seed=2),
        values={name: rng.standard_normal(count) for name in ("clip_score", "aesthetic")},
        strata={
            "style": ["cartoon"] * (count // 2) + ["aesthetic"] * (count - count // 2),
            "rare": ["x"] * 3 + [None] * (count - 3),
        },
        reference_strata={"style": ["cartoon"] * 150 + ["aesthetic"] * 50} if has_counterpart else None,
    )


def test_every_metric_has_a_row_for_the_whole_and_for_each_stratum():
    rows = whole()
    by_stratum: dict[str, list[str]] = {}
    for row in rows:
        by_stratum.setdefault(row.stratum, []).append(row.metric)
    expected = ["kid", "frechet_distance", "inception_score", "clip_score", "aesthetic"]
    assert by_stratum == {"all": expected, "style=aesthetic": expected, "style=cartoon": expected}
    assert all(row.n == (64 if row.stratum == "all" else 32) for row in rows)
    assert all(row.low is not None and row.low <= row.high for row in rows)


def test_rows_are_the_same_twice():
    assert whole() == whole()


def test_too_few_images_are_marked_loudly():
    row = next(row for row in whole() if row.metric == "frechet_distance")
    assert row.note.startswith("NOT MEANINGFUL at n=64: fewer than 2048 images")
    small = evaluate(features(6), features(7))
    assert "rank-deficient" in next(row.note for row in small if row.metric == "frechet_distance")


def test_enough_images_carry_no_warning_and_the_papers_network_earns_the_name_fid():
    card = dataclasses.replace(CARD, name="inception-v3", published=True)
    rows = evaluate(features(2100, card=card), features(2100, card=card, seed=1))
    fid = next(row for row in rows if row.metric == "fid")
    assert "NOT MEANINGFUL" not in fid.note


def test_a_model_that_filtered_the_pictures_is_flagged_first():
    for row in whole(FILTER):
        assert row.note.startswith("NOT INDEPENDENT: this model also filtered the training data.")
    assert not any("NOT INDEPENDENT" in row.note for row in whole() if row.extractor.startswith("judge"))


def test_a_stratum_without_counterpart_says_what_it_was_compared_with():
    notes = [row.note for row in whole(has_counterpart=False) if row.metric == "kid" and row.stratum != "all"]
    assert notes and all("Compared with the whole reference set" in note for note in notes)


def test_unlike_networks_are_refused():
    other = dataclasses.replace(CARD, resize_mode="bilinear-64")
    with pytest.raises(ValueError, match="reference: received features of judge"):
        evaluate(features(10), features(10, card=other))
