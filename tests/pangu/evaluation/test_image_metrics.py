import numpy as np
import pytest

from pangu.evaluation.features import ExtractorCard, ImageFeatures
from pangu.evaluation.image_metrics import ClipScore, GivenMean, HeadMean, HeadRate
from pangu.evaluation.metric import ImageMetric, PromptBatch
from pangu.evaluation.partial_state import make_state

CARD = ExtractorCard("clip", "ab" * 32, num_dims=2, resize_mode="bicubic-224")
FOUND = ImageFeatures(CARD, np.array([[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]], dtype=np.float32))
BATCH = PromptBatch(("a cat", "一只猫", None), ("en", "zh", None), np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]))


def computed(metric, values):
    return metric.compute(make_state(list("abc"), FOUND, values={metric.name: values}, keep_rows=False), None)


def test_clip_score_is_of_the_prompts_of_its_language():
    np.testing.assert_allclose(ClipScore("clip").image_values(FOUND, BATCH), [100.0, 100.0, np.nan])
    chinese = ClipScore("clip", name="cn_clip_score", language="zh").image_values(FOUND, BATCH)
    np.testing.assert_allclose(chinese, [np.nan, 100.0, np.nan])
    (found,) = computed(ClipScore("clip"), np.array([10.0, 30.0, np.nan]))
    assert (found.interval.value, found.n) == (20.0, 2)


def test_a_head_is_averaged_and_a_rate_counted():
    head = HeadMean("clip", "aesthetic", lambda features: features.sum(axis=1, keepdims=True))
    np.testing.assert_allclose(head.image_values(FOUND, BATCH), [1.0, 2.0, 2.0])
    rate = HeadRate("clip", "cartoon_rate", lambda features: features[:, 0], threshold=0.5)
    (found,) = computed(rate, rate.image_values(FOUND, BATCH))
    assert found.interval.value == pytest.approx(2 / 3) and 0.0 < found.interval.low < found.interval.high < 1.0


def test_no_image_with_a_value_is_no_row():
    nothing = np.full(3, np.nan)
    for metric in (ClipScore("clip"), GivenMean("clip", "aesthetic"), HeadRate("clip", "x", lambda features: features)):
        assert computed(metric, nothing) == []


def test_only_metrics_with_values_of_their_own_run_in_the_pass():
    assert isinstance(ClipScore("clip"), ImageMetric) and not isinstance(GivenMean("clip", "x"), ImageMetric)
