import itertools
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pangu.batches import BatchPlan, choose_caption, rank_rows

BUCKETS = [i % 3 for i in range(40)] + [7] * 3


@given(st.lists(st.integers(0, 4), min_size=1, max_size=60), st.integers(1, 9), st.integers(0, 5))
def test_every_epoch_shows_every_sample_once_in_batches_of_one_bucket(buckets, batch_size, seed):
    plan = BatchPlan(buckets, batch_size, seed)
    for epoch in range(2):
        batches = [plan.at(epoch * plan.steps_per_epoch + i) for i in range(plan.steps_per_epoch)]
        assert sorted(itertools.chain(*(batch.samples for batch in batches))) == list(range(len(buckets)))
        assert {batch.epoch for batch in batches} == {epoch}
        for batch in batches:
            assert {buckets[sample] for sample in batch.samples} == {batch.bucket}
            assert 1 <= len(batch.samples) <= batch_size


@pytest.mark.reliability(12)
def test_any_step_can_be_asked_for_without_the_ones_before():
    ahead = BatchPlan(BUCKETS, 4, 1)
    expected = [ahead.at(step) for step in range(30)]
    assert BatchPlan(BUCKETS, 4, 1).at(17) == expected[17]
    assert [BatchPlan(BUCKETS, 4, 1).at(step) for step in reversed(range(30))] == expected[::-1]


def test_epochs_and_seeds_differ():
    plan, other = BatchPlan(BUCKETS, 4, 1), BatchPlan(BUCKETS, 4, 2)
    first = [plan.at(i).samples for i in range(plan.steps_per_epoch)]
    assert first != [plan.at(plan.steps_per_epoch + i).samples for i in range(plan.steps_per_epoch)]
    assert first != [other.at(i).samples for i in range(plan.steps_per_epoch)]


@given(st.integers(1, 20), st.integers(1, 8))
def test_workers_share_a_batch_in_order(num_rows, num_workers):
    shares = [list(range(num_rows))[rank_rows(num_rows, rank, num_workers)] for rank in range(num_workers)]
    assert list(itertools.chain(*shares)) == list(range(num_rows))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_captions_are_chosen_evenly_and_by_position_alone():
    counts = Counter(choose_caption(0, epoch, sample, 4) for epoch in range(20) for sample in range(100))
    assert all(400 < count < 600 for count in counts.values())
    assert choose_caption(3, 2, 1, 5) == choose_caption(3, 2, 1, 5)


@pytest.mark.parametrize(
    ("call", "field"),
    [
        (lambda: BatchPlan([], 1, 0), "buckets"),
        (lambda: BatchPlan([0], 0, 0), "batch_size"),
        (lambda: BatchPlan([0], 1, 0).at(-1), "step"),
        (lambda: rank_rows(3, 2, 2), "rank"),
        (lambda: choose_caption(0, 0, 0, 0), "captions"),
    ],
)
def test_impossible_settings_are_refused_by_name(call, field):
    with pytest.raises(ValueError, match=field):
        call()
