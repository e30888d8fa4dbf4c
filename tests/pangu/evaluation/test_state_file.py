import numpy as np
import pytest

from pangu.evaluation.features import ExtractorCard, ImageFeatures
from pangu.evaluation.partial_state import make_state
from pangu.evaluation.state_file import state_from_bytes, state_to_bytes

CARD = ExtractorCard("判官", "ab" * 32, num_dims=4, resize_mode="bicubic-64", other_uses=("filtered",), published=True)


def state(count: int = 9, **given):
    rng = np.random.default_rng(0)
    found = ImageFeatures(CARD, rng.standard_normal((count, 4)).astype(np.float32), rng.random((count, 3), np.float32))
    keys = [f"提示 {row}/0" for row in range(count)]
    scores = np.where(np.arange(count) == 2, np.nan, 1.5)
    return make_state(keys, found, values={"clip_score": scores}, rejected={"x": "not_rgb8"}, **given)


@pytest.mark.parametrize("given", [{}, {"keep_moments": True, "max_rows": 3}, {"keep_rows": False}])
def test_a_state_comes_back_as_it_was(given):
    before = state(**given)
    after, settings = state_from_bytes(state_to_bytes(before, settings={"seed": 7}))
    assert settings == {"seed": 7}
    assert (after.card, after.keys, after.max_rows, after.rejected) == (
        before.card,
        before.keys,
        before.max_rows,
        before.rejected,
    )
    np.testing.assert_array_equal(after.features, before.features)
    np.testing.assert_array_equal(after.values["clip_score"], before.values["clip_score"])
    assert (after.logits is None) == (before.logits is None) and (after.moments is None) == (before.moments is None)
    if before.moments is not None:
        assert after.moments.count == 9
        np.testing.assert_array_equal(after.moments.scatter, before.moments.scatter)


def test_equal_states_are_equal_bytes():
    assert state_to_bytes(state()) == state_to_bytes(state())
    assert state_to_bytes(state(0)) and state_from_bytes(state_to_bytes(state(0)))[0].count == 0


@pytest.mark.parametrize("damage", [b"", b"hello", lambda data: data[:-5], lambda data: data[:40]])
def test_other_bytes_are_refused(damage):
    data = damage(state_to_bytes(state())) if callable(damage) else damage
    with pytest.raises(ValueError, match="accepted: a file of format evaluation-state/1"):
        state_from_bytes(data)
