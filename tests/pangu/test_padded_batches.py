import pytest
import torch

from pangu.padded_batches import PaddedBatches, SingleRowError, is_out_of_memory

ROWS = torch.arange(7).float() * 10


def test_every_call_is_of_one_size_and_the_last_is_padded_with_its_own_last_row():
    asked = []

    def call(places):
        asked.append(places.tolist())
        return ROWS[places]

    assert torch.equal(PaddedBatches(3).run(7, call), ROWS)
    assert asked == [[0, 1, 2], [3, 4, 5], [6, 6, 6]]


def test_memory_that_runs_out_halves_the_size_from_there_on_and_for_later():
    asked = []

    def call(places):
        asked.append(len(places))
        if 2 in places and len(places) > 1:
            raise torch.OutOfMemoryError
        return ROWS[places]

    batches = PaddedBatches(4)
    assert torch.equal(batches.run(7, call), ROWS)
    assert asked == [4, 2, 2, 1, 1, 1, 1, 1]
    assert (batches.rows, batches.used) == (1, {1, 2})


def test_a_row_that_does_not_fit_alone_is_named():
    def call(places):
        if 5 in places:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes")
        return ROWS[places]

    with pytest.raises(SingleRowError) as caught:
        PaddedBatches(4).run(7, call)
    assert caught.value.row == 5


@pytest.mark.parametrize(
    ("error", "is_memory"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (RuntimeError("NPU out of memory. Tried to allocate"), True),
        (MemoryError(), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_only_memory_errors_are_taken_for_such(error, is_memory):
    assert is_out_of_memory(error) is is_memory


def test_the_cpus_own_allocator_is_understood():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**55, dtype=torch.float64)
    assert is_out_of_memory(caught.value)
