import itertools

import numpy as np
import pytest

from pangu.evaluation.features import ExtractorCard, ImageFeatures
from pangu.evaluation.partial_state import make_state, merge_states
from pangu.evaluation.statistics import feature_statistics

CARD = ExtractorCard("judge", "ab" * 32, num_dims=6, resize_mode="bicubic-64")
KEYS = [f"p{row}/0" for row in range(40)]
RNG = np.random.default_rng(0)
FOUND = ImageFeatures(
    CARD, (RNG.standard_normal((40, 6)) * 3 + 50).astype(np.float32), RNG.standard_normal((40, 4)).astype(np.float32)
)
SCORES = RNG.standard_normal(40)


def state(rows, **given):
    chosen = np.zeros(40, dtype=bool)
    chosen[list(rows)] = True
    keys = [key for key, wanted in zip(KEYS, chosen, strict=True) if wanted]
    return make_state(keys, FOUND.select(chosen), values={"score": SCORES[chosen]}, **given)


def cut(**given):
    return [state(rows, **given) for rows in (range(0, 7), range(7, 8), range(8, 8), range(8, 31), range(31, 40))]


@pytest.mark.parametrize("max_rows", [None, 12])
def test_parts_in_any_order_and_any_cut_merge_to_the_same(max_rows):
    given = {"max_rows": max_rows, "keep_moments": True}
    whole = state(range(40), **given)
    for order in itertools.islice(itertools.permutations(cut(**given)), 0, 120, 17):
        left = merge_states(order)
        tree = merge_states([merge_states(order[:2]), merge_states(order[2:])])
        for merged in (left, tree):
            assert merged.keys == whole.keys
            np.testing.assert_array_equal(merged.features, whole.features)
            np.testing.assert_array_equal(merged.logits, whole.logits)
            np.testing.assert_array_equal(merged.values["score"], whole.values["score"])
            np.testing.assert_allclose(merged.moments.mean, whole.moments.mean, rtol=1e-12)
            np.testing.assert_allclose(merged.moments.scatter, whole.moments.scatter, rtol=1e-12, atol=1e-9)
            assert merged.moments.count == 40


def test_every_row_stays_with_its_key():
    merged = merge_states(reversed(cut()))
    for key, features, logits, score in zip(
        merged.keys, merged.features, merged.logits, merged.values["score"], strict=True
    ):
        row = KEYS.index(key)
        np.testing.assert_array_equal(features, FOUND.features[row])
        np.testing.assert_array_equal(logits, FOUND.logits[row])
        assert score == SCORES[row]


def test_complete_rows_need_no_moments_and_a_sample_does():
    complete = merge_states(cut())
    expected = feature_statistics(FOUND.features)
    np.testing.assert_allclose(complete.statistics().mean, expected.mean, rtol=1e-12)
    with pytest.raises(ValueError, match="moments: received none for 40 images"):
        merge_states(cut(max_rows=12)).statistics()
    sampled = merge_states(cut(max_rows=12, keep_moments=True))
    assert len(sampled.features) == 12 and sampled.count == 40 and not sampled.rows_are_complete
    np.testing.assert_allclose(sampled.statistics().scatter, expected.scatter, rtol=1e-10, atol=1e-9)


def test_a_stratum_is_the_state_of_its_images_alone():
    members = set(KEYS[5:20])
    part = merge_states(cut()).select(members)
    assert part.keys == state(range(5, 20)).keys
    np.testing.assert_array_equal(part.features, state(range(5, 20)).features)
    sampled = merge_states(cut(max_rows=12)).select(members)
    assert sampled.count == 15 and len(sampled.features) < 12


def test_an_image_twice_and_unlike_parts_are_refused():
    with pytest.raises(ValueError, match="keys: received 'p3/0' twice"):
        merge_states([state(range(0, 4)), state(range(3, 8))])
    with pytest.raises(ValueError, match="max_rows: received 5 beside None"):
        merge_states([state(range(0, 4)), state(range(4, 8), max_rows=5)])
    with pytest.raises(ValueError, match="moments: received some parts with and some without"):
        merge_states([state(range(0, 4)), state(range(4, 8), keep_moments=True)])
    with pytest.raises(ValueError, match="logits: received some"):
        merge_states([state(range(0, 4)), state(range(4, 8), keep_logits=False)])
    with pytest.raises(ValueError, match="parts: received none"):
        merge_states([])
