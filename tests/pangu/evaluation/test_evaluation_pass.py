import dataclasses
from pathlib import Path

import numpy as np
import pytest

from pangu.evaluation.distribution_metrics import FrechetDistance, InceptionScore, KernelDistance, ManifoldOverlap, cmmd
from pangu.evaluation.evaluation_pass import EvaluationPass, merge_passes
from pangu.evaluation.features import CallableFeatures, ImageFeatures
from pangu.evaluation.image_metrics import ClipScore, HeadMean, HeadRate
from pangu.evaluation.metrics import evaluate_states
from pangu.evaluation.random_features import RandomFeatures
from pangu.evaluation.state_file import state_from_bytes, state_to_bytes

SCORER = Path(__file__).parents[3] / "ray_jobs" / "sample_models" / "scorer"


class Counted:
    """An extractor that counts the pictures it was given."""

    def __init__(self, extractor) -> None:
        self.extractor, self.seen = extractor, 0

    @property
    def card(self):
        return self.extractor.card

    def extract(self, images) -> ImageFeatures:
        self.seen += len(images)
        return self.extractor.extract(images)


def mean_colours(name: str = "mean-colour") -> CallableFeatures:
    return CallableFeatures(
        lambda images: np.asarray([image.mean(axis=(0, 1)) for image in images]).reshape(-1, 3),
        name=name,
        fingerprint="0" * 12,
        num_dims=3,
        resize_mode="none",
        other_uses=(),
        logits=lambda features: features / 50.0,
    )


def pictures(count: int, *, seed: int = 0, tint: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    sizes = [(32, 32), (24, 40), (48, 20)]
    levels = rng.integers(0, 120, (count, 3))
    return [
        np.clip(rng.integers(0, 120, (*sizes[row % 3], 3)) + levels[row] + [tint, 0, 0], 0, 255).astype(np.uint8)
        for row in range(count)
    ]


METRICS = (
    FrechetDistance("colour"),
    KernelDistance("colour"),
    InceptionScore("colour"),
    ManifoldOverlap("colour"),
    cmmd("clip"),
    FrechetDistance("untrained", named="fd_untrained"),
    ClipScore("clip"),
    ClipScore("clip", name="cn_clip_score", language="zh"),
    HeadMean("clip", "aesthetic", lambda features: 5.0 + features[:, 0]),
    HeadRate("clip", "cartoon_rate", lambda features: features[:, 1], threshold=0.0),
)
PROMPTS = ["a red ball", "红色的球", "a blue box", "a red ball"]
LANGUAGES = ["en", "zh", "en", "en"]


@pytest.fixture(scope="module")
def scorer():
    from curation.clip_scorer import ClipScorer

    return ClipScorer(SCORER)


def make_pass(scorer, texts: list[str], **given) -> EvaluationPass:
    def embed_texts(asked):
        texts.extend(asked)
        return scorer.embed_texts(list(asked))

    clip = CallableFeatures(
        scorer.embed_images,
        name="sample-scorer",
        fingerprint=scorer.fingerprint,
        num_dims=scorer.width,
        resize_mode="the scorer's own",
        other_uses=("scored the training pictures",),
    )
    extractors = {
        "colour": Counted(mean_colours()),
        "clip": Counted(clip),
        "untrained": Counted(RandomFeatures()),
        "unused": Counted(mean_colours("unused")),
    }
    return EvaluationPass(extractors, METRICS, text_embedders={"clip": embed_texts}, **given)


def run_cut(given: EvaluationPass, cuts, *, prompts: bool = True):
    images = pictures(24)
    keys = [f"p{row}/0" for row in range(24)]
    texts, languages = (PROMPTS * 6, LANGUAGES * 6) if prompts else (None, None)
    return [
        given.run(
            keys[start:stop],
            images[start:stop],
            prompts=texts[start:stop] if texts else None,
            languages=languages[start:stop] if languages else None,
        )
        for start, stop in cuts
    ]


def test_every_metric_comes_from_one_pass_whatever_the_cut_into_parts(scorer):
    texts: list[str] = []
    given = make_pass(scorer, texts)
    whole = merge_passes(run_cut(given, [(0, 24)]))
    assert "unused" not in given.extractors
    assert [each.seen for each in given.extractors.values()] == [24, 24, 24]
    assert sorted(texts) == sorted(set(PROMPTS))
    parts = run_cut(given, [(0, 5), (5, 6), (6, 6), (6, 24)])
    carried = [{name: state_from_bytes(state_to_bytes(state))[0] for name, state in part.items()} for part in parts]
    merged = merge_passes(reversed(carried))
    reference = given.run([f"r{row}" for row in range(30)], pictures(30, seed=1, tint=40))
    strata = {"language": {f"p{row}/0": LANGUAGES[row % 4] for row in range(24)}}
    rows = evaluate_states(METRICS, merged, reference, strata=strata)
    assert rows == evaluate_states(METRICS, whole, reference, strata=strata)
    names = [row.metric for row in rows if row.stratum == "all"]
    assert names == [
        *("frechet_distance", "frechet_distance_infinity", "kid", "inception_score"),
        *("precision", "recall", "coverage", "density"),
        *("cmmd", "fd_untrained", "clip_score", "cn_clip_score", "aesthetic", "cartoon_rate"),
    ]
    by_name = {row.metric: row for row in rows if row.stratum == "all"}
    assert by_name["cn_clip_score"].n == 6 and by_name["clip_score"].n == 24
    assert by_name["cmmd"].note.startswith("NOT INDEPENDENT: this model also scored the training pictures.")
    assert by_name["kid"].value > 0 and by_name["frechet_distance"].n == 24
    english = {row.metric for row in rows if row.stratum == "language=en"}
    assert "cn_clip_score" not in english and "clip_score" in english
    assert not any(row.stratum == "language=zh" for row in rows)  # six images are no stratum


def test_of_many_images_a_fixed_sample_of_rows_and_all_moments_stay(scorer):
    whole = merge_passes(run_cut(make_pass(scorer, []), [(0, 24)]))
    few = make_pass(scorer, [], max_rows=10)
    one, other = (merge_passes(run_cut(few, cuts)) for cuts in ([(0, 24)], [(12, 24), (0, 12)]))
    assert len(one["colour"].features) == 10 and one["colour"].count == 24
    np.testing.assert_array_equal(one["colour"].features, other["colour"].features)
    np.testing.assert_array_equal(one["clip"].values["clip_score"], whole["clip"].values["clip_score"])
    reference = {"colour": merge_passes(run_cut(make_pass(scorer, []), [(0, 24)], prompts=False))["colour"]}
    value = FrechetDistance("colour").compute(one["colour"], reference["colour"])[0].interval.value
    assert value == pytest.approx(0.0, abs=1e-9)  # its moments are those of all 24 images, the reference's own


def test_a_picture_that_no_network_takes_leaves_with_its_reason():
    def embed(images):
        features = np.asarray([image.mean(axis=(0, 1)) for image in images]).reshape(-1, 3)
        features[[image.max() == 7 for image in images]] = np.nan
        return features

    extractor = CallableFeatures(
        embed, name="fragile", fingerprint="0" * 12, num_dims=3, resize_mode="none", other_uses=()
    )
    images = pictures(5)
    images[1] = np.zeros((4, 4), dtype=np.uint8)
    images[3] = np.full((4, 4, 3), 7, dtype=np.uint8)
    given = EvaluationPass({"fragile": extractor}, [KernelDistance("fragile")])
    state = given.run(list("abcde"), images)["fragile"]
    assert sorted(state.keys) == ["a", "c", "e"]
    assert state.rejected == {"b": "not_rgb8", "d": "features_not_finite"}


def test_unlike_networks_and_missing_ones_are_refused():
    given = EvaluationPass({"colour": mean_colours()}, [KernelDistance("colour")])
    state = given.run(["a", "b"], pictures(2))
    other = {"colour": dataclasses.replace(state["colour"], card=mean_colours("another").card)}
    with pytest.raises(ValueError, match="reference: received features of another"):
        evaluate_states(given.metrics, state, other)
    with pytest.raises(ValueError, match="extractors: received \\['colour'\\], accepted: 'clip' among them"):
        EvaluationPass({"colour": mean_colours()}, METRICS[4:5])
    with pytest.raises(ValueError, match="text_embedders: received none for 'colour'"):
        EvaluationPass({"colour": mean_colours()}, [ClipScore("colour")]).run(["a"], pictures(1), prompts=["x"])
    with pytest.raises(ValueError, match="images: received 2 keys, 1 images"):
        given.run(["a", "b"], pictures(1))
    with pytest.raises(ValueError, match="max_rows: received 1"):
        EvaluationPass({"colour": mean_colours()}, [KernelDistance("colour")], max_rows=1)
