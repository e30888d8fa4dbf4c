import numpy as np
import pytest

from pangu.evaluation.inception_score import inception_interval, inception_score
from pangu.torchvision_ops import declare_missing_ops


def draw(count: int, sharpness: float = 2.0) -> np.ndarray:
    return (np.random.default_rng(3).standard_normal((count, 30)) * sharpness).astype(np.float32)


@pytest.mark.parametrize("count", [100, 253])
def test_splits_equal_torch_fidelity(count):
    declare_missing_ops()
    import torch
    from torch_fidelity.metric_isc import isc_features_to_metric

    theirs = isc_features_to_metric(torch.from_numpy(draw(count)), splits=10)
    ours = inception_score(draw(count))
    assert ours == pytest.approx((theirs["inception_score_mean"], theirs["inception_score_std"]), abs=1e-9)


def test_certain_and_varied_images_score_the_number_of_classes():
    logits = np.tile(np.eye(10) * 500.0, (20, 1))
    assert inception_score(logits, num_splits=1)[0] == pytest.approx(10.0, rel=1e-9)
    assert inception_interval(logits).value == pytest.approx(10.0, rel=1e-9)


def test_images_that_look_alike_score_one():
    assert inception_interval(np.tile(draw(1), (50, 1))).value == pytest.approx(1.0, rel=1e-12)


def test_the_interval_holds_the_value_and_ten_splits_start_at_5000_images():
    few, many = inception_interval(draw(300)), inception_interval(draw(5000))
    assert few.low < few.value < few.high
    assert many.value == pytest.approx(inception_score(draw(5000))[0], rel=1e-12)


def test_one_class_has_no_score():
    with pytest.raises(ValueError, match=r"logits: received shape \(5, 1\)"):
        inception_score(np.zeros((5, 1)))
