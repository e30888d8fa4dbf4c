"""Values against torch-fidelity and, where it is installed, clean-fid, on the same features."""

import dataclasses

import numpy as np
import pytest

from pangu.evaluation.distribution_metrics import FrechetDistance, InceptionScore, KernelDistance, ManifoldOverlap
from pangu.evaluation.features import ExtractorCard, ImageFeatures
from pangu.evaluation.inception_score import inception_score
from pangu.evaluation.kernel import kernel_distance_of_subsets
from pangu.evaluation.partial_state import make_state
from pangu.torchvision_ops import declare_missing_ops

DIMS = 48
CARD = ExtractorCard("inception-v3", "ab" * 32, num_dims=DIMS, resize_mode="bilinear-299", published=True)


def features(count: int, *, seed: int = 0, shift: float = 0.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    mixing = np.random.default_rng(5).standard_normal((DIMS, DIMS)) / DIMS**0.5
    # Pooled features of a rectified network: positive and skewed.
    return np.maximum(rng.standard_normal((count, DIMS)) @ mixing + 0.5 + shift, 0.0).astype(np.float32)


def state(count: int, **given):
    values = features(count, **given)
    logits = (values @ np.random.default_rng(6).standard_normal((DIMS, 20))).astype(np.float32)
    return make_state([f"{given.get('seed', 0)}/{row}" for row in range(count)], ImageFeatures(CARD, values, logits))


def values_of(metric, one, other) -> dict[str, float]:
    return {found.metric: found.interval.value for found in metric.compute(one, other)}


def test_fid_kid_and_is_differ_from_torch_fidelity_by_rounding_alone():
    declare_missing_ops()
    import torch
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
    from torch_fidelity.metric_isc import isc_features_to_metric
    from torch_fidelity.metric_kid import kid_features_to_metric

    one, other = state(2500, shift=0.1), state(2300, seed=1)
    first, second = torch.from_numpy(one.features), torch.from_numpy(other.features)
    fid = fid_statistics_to_metric(fid_features_to_statistics(first), fid_features_to_statistics(second), False)
    ours = values_of(FrechetDistance("x"), one, other)["fid"]
    assert abs(ours - fid["frechet_inception_distance"]) <= 1e-5

    options = {"kid_subsets": 10, "kid_subset_size": 500, "kid_kernel": "poly", "rng_seed": 2020, "verbose": False}
    kid = kid_features_to_metric(first.double(), second.double(), **options)["kernel_inception_distance_mean"]
    subsets = kernel_distance_of_subsets(one.features, other.features, num_subsets=10, subset_size=500)[0]
    assert abs(subsets - kid) <= 1e-9
    # All pairs at once, as our row has it, estimate the same number with less noise.
    assert values_of(KernelDistance("x"), one, other)["kid"] == pytest.approx(kid, rel=0.1)

    isc = isc_features_to_metric(torch.from_numpy(one.logits), splits=10)["inception_score_mean"]
    assert abs(inception_score(one.logits, num_splits=10)[0] - isc) <= 1e-9


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_fid_and_kid_equal_clean_fid():
    declare_missing_ops()
    cleanfid = pytest.importorskip("cleanfid.fid")
    one, other = features(900, shift=0.1), features(800, seed=1)
    statistics = [(each.mean(axis=0, dtype=np.float64), np.cov(each, rowvar=False)) for each in (one, other)]
    theirs = cleanfid.frechet_distance(*statistics[0], *statistics[1])
    ours = values_of(FrechetDistance("x"), state(900, shift=0.1), state(800, seed=1))["fid"]
    assert abs(ours - theirs) <= 1e-6
    np.random.seed(2020)  # it draws from the global generator, the second set first
    theirs = cleanfid.kernel_distance(one.astype(np.float64), other.astype(np.float64), 10, 500)
    ours = kernel_distance_of_subsets(other, one, num_subsets=10, subset_size=500, seed=2020)[0]
    assert abs(ours - theirs) <= 1e-9


def test_the_names_follow_the_network_and_enough_images_carry_the_limit():
    one, other = state(2500, shift=0.1), state(2300, seed=1)
    assert list(values_of(FrechetDistance("x"), one, other)) == ["fid", "fid_infinity"]
    assert list(values_of(FrechetDistance("x", named="fd_dinov2"), one, other)) == ["fd_dinov2", "fd_dinov2_infinity"]
    plain = dataclasses.replace(one, card=dataclasses.replace(CARD, published=False))
    assert next(iter(values_of(FrechetDistance("x"), plain, other))) == "frechet_distance"
    found = FrechetDistance("x").compute(one, other)
    assert found[1].interval.value < found[0].interval.value
    assert not any("NOT MEANINGFUL" in note for each in found for note in each.notes)


def test_too_few_images_are_marked_and_have_no_limit():
    (found,) = FrechetDistance("x").compute(state(90), state(2300, seed=1))
    assert found.notes[0].startswith("NOT MEANINGFUL at n=90: fewer than 2048 images")
    (found,) = FrechetDistance("x").compute(state(40), state(2300, seed=1))
    assert "the covariance is rank-deficient" in found.notes[0]


def test_metrics_without_a_counterpart_give_no_rows():
    one = state(30)
    for metric in (FrechetDistance("x"), KernelDistance("x"), ManifoldOverlap("x")):
        assert metric.compute(one, None) == []
    assert InceptionScore("x").compute(dataclasses.replace(one, logits=None), None) == []


def test_overlap_of_a_set_with_itself_is_whole():
    values = values_of(ManifoldOverlap("x"), state(60), state(60))
    assert values["precision"] == values["recall"] == values["coverage"] == 1.0
    assert values["density"] == pytest.approx(1.2, abs=0.2)
