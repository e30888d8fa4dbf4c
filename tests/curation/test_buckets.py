import math
import random

import pytest

from curation.buckets import FULL_BUCKETS, SAMPLE_BUCKETS, BucketRow, BucketTable


@pytest.mark.parametrize(("table", "multiple"), [(FULL_BUCKETS, 32), (SAMPLE_BUCKETS, 8)])
def test_eleven_rows_mirror_each_other_and_divide(table: BucketTable, multiple: int) -> None:
    assert [row.index for row in table.rows] == list(range(11))
    for row in table.rows:
        assert all(side % multiple == 0 for side in (*row.structure, *row.texture))
        mirror = table.rows[10 - row.index]
        assert (mirror.structure, mirror.texture) == (row.structure[::-1], row.texture[::-1])
        assert table.assign(*row.structure) == row.index


def test_texture_is_not_a_doubling() -> None:
    ratios = {row.structure[0] / row.texture[0] for row in FULL_BUCKETS.rows}
    assert (round(min(ratios), 2), max(ratios)) == (1.8, 2.0)


@pytest.mark.reliability(6)
def test_assignment_is_the_nearest_log_aspect() -> None:
    aspects = [math.log(row.structure[0] / row.structure[1]) for row in FULL_BUCKETS.rows]
    generator = random.Random(0)
    for _ in range(2000):
        height, width = generator.randint(1, 5000), generator.randint(1, 5000)
        distances = [abs(math.log(height / width) - aspect) for aspect in aspects]
        assert distances[FULL_BUCKETS.assign(height, width)] == pytest.approx(min(distances), abs=1e-12)


def test_tie_goes_to_the_smaller_index() -> None:
    table = BucketTable.from_sizes([((16, 16), (8, 8)), ((64, 16), (32, 8))])
    assert table.assign(20, 10) == 0  # log 2 lies midway between log 1 and log 4
    assert table.assign(2001, 1000) == 1
    assert table.assign(1999, 1000) == 0


def test_texture_eligibility_is_no_upscaling() -> None:
    assert FULL_BUCKETS.is_texture_eligible(512, 512)
    assert not FULL_BUCKETS.is_texture_eligible(511, 512)
    assert not FULL_BUCKETS.is_texture_eligible(600, 400)  # 672x416 would be needed


def test_json_round_trip_and_errors() -> None:
    assert BucketTable.from_json(FULL_BUCKETS.to_json()) == FULL_BUCKETS
    for text in ("{}", "[]", "nonsense", '[{"index": 0}]', '[{"index": 1, "structure": [8, 8], "texture": [8, 8]}]'):
        with pytest.raises(ValueError, match="bucket table"):
            BucketTable.from_json(text)
    with pytest.raises(ValueError, match="multiple of 8"):
        BucketTable((BucketRow(0, (64, 60), (32, 32)),))
    with pytest.raises(ValueError, match="at least 1 px"):
        FULL_BUCKETS.assign(0, 5)
