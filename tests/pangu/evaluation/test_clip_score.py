import numpy as np
import pytest

from pangu.evaluation.clip_score import clip_score, clip_scores


def test_known_angles():
    images = np.array([[1.0, 0.0], [2.0, 0.0], [1.0, 0.0]])
    texts = np.array([[5.0, 0.0], [1.0, 1.0], [-1.0, 0.0]])
    np.testing.assert_allclose(clip_scores(images, texts), [100.0, 100 / 2**0.5, 0.0], atol=1e-12)


def test_equals_the_published_formula_with_torch():
    import torch

    rng = np.random.default_rng(0)
    images, texts = rng.standard_normal((2, 500, 64))
    cosine = torch.nn.functional.cosine_similarity(torch.from_numpy(images), torch.from_numpy(texts))
    assert clip_score(images, texts).value == pytest.approx(float((100 * cosine.clamp(min=0)).mean()), rel=1e-9)


def test_zero_rows_and_unequal_shapes_are_refused():
    with pytest.raises(ValueError, match="zero or non-finite"):
        clip_scores(np.zeros((2, 4)), np.ones((2, 4)))
    with pytest.raises(ValueError, match="accepted: equal"):
        clip_scores(np.ones((2, 4)), np.ones((3, 4)))
