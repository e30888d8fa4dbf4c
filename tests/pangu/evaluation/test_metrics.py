import dataclasses

import numpy as np
import pytest

from pangu.evaluation.features import ExtractorCard, ImageFeatures
from pangu.evaluation.metrics import CaptionPair, EvaluationInput, FeaturePair, evaluate

CARD = ExtractorCard("judge", "ab" * 32, num_dims=8, resize_mode="bicubic-64")
FILTER = dataclasses.replace(CARD, name="scorer", other_uses=("filtered the training data",))


def features(count: int, *, card: ExtractorCard = CARD, shift: float = 0.0, seed: int = 0) -> ImageFeatures:
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((count, 8)).astype(np.float32) + np.float32(shift)
    return ImageFeatures(card, values, rng.standard_normal((count, 5)).astype(np.float32))


def given(count: int = 64, card: ExtractorCard = CARD) -> EvaluationInput:
    rng = np.random.default_rng(1)
    return EvaluationInput(
        features=[FeaturePair(features(count, card=card), features(200, card=card, shift=0.2, seed=2))],
        captions=[CaptionPair(FILTER, rng.standard_normal((count, 16)), rng.standard_normal((count, 16)))],
        per_image={"aesthetic": (FILTER, rng.standard_normal(count))},
        strata={
            "style": ["cartoon"] * (count // 2) + ["aesthetic"] * (count - count // 2),
            "rare": ["x"] * 3 + [None] * (count - 3),
        },
        reference_strata={"style": ["cartoon"] * 150 + ["aesthetic"] * 50},
    )


def test_every_metric_has_a_row_for_the_whole_and_for_each_stratum():
    rows = evaluate(given())
    by_stratum: dict[str, list[str]] = {}
    for row in rows:
        by_stratum.setdefault(row.stratum, []).append(row.metric)
    expected = ["kid", "frechet_distance", "inception_score", "clip_score", "aesthetic"]
    assert by_stratum == {"all": expected, "style=aesthetic": expected, "style=cartoon": expected}
    assert all(row.n == (64 if row.stratum == "all" else 32) for row in rows)
    assert all(row.low is not None and row.low <= row.high for row in rows)


def test_rows_are_the_same_twice():
    assert evaluate(given()) == evaluate(given())


def test_too_few_images_are_marked_loudly():
    row = next(row for row in evaluate(given()) if row.metric == "frechet_distance")
    assert row.note.startswith("NOT MEANINGFUL at n=64: fewer than 2048 images")
    small = evaluate(EvaluationInput(features=[FeaturePair(features(6), features(7))]))
    assert "rank-deficient" in next(row.note for row in small if row.metric == "frechet_distance")


def test_enough_images_carry_no_warning_and_the_papers_network_earns_the_name_fid():
    card = dataclasses.replace(CARD, name="inception-v3", published=True)
    rows = evaluate(
        EvaluationInput(features=[FeaturePair(features(2100, card=card), features(2100, card=card, seed=1))])
    )
    fid = next(row for row in rows if row.metric == "fid")
    assert "NOT MEANINGFUL" not in fid.note


def test_a_model_that_filtered_the_pictures_is_flagged_first():
    for row in evaluate(given(card=FILTER)):
        assert row.note.startswith("NOT INDEPENDENT: this model also filtered the training data.")
    assert not any("NOT INDEPENDENT" in row.note for row in evaluate(given()) if row.extractor.startswith("judge"))


def test_a_stratum_without_counterpart_says_what_it_was_compared_with():
    without = dataclasses.replace(given(), reference_strata={})
    notes = [row.note for row in evaluate(without) if row.metric == "kid" and row.stratum != "all"]
    assert notes and all("Compared with the whole reference set" in note for note in notes)


def test_unlike_networks_and_unlike_lengths_are_refused():
    other = dataclasses.replace(CARD, resize_mode="bilinear-64")
    with pytest.raises(ValueError, match="reference: received features of judge"):
        FeaturePair(features(10), features(10, card=other))
    with pytest.raises(ValueError, match=r"sequences of \[10, 11\] images"):
        evaluate(EvaluationInput(features=[FeaturePair(features(10), features(12))], strata={"style": ["a"] * 11}))
