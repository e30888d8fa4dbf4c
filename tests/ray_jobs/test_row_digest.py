"""The row digest: blind to layout and order, sensitive to every value."""

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from ray_jobs.parts import part_of_key, split_by_key
from ray_jobs.row_digest import RowDigest

ROWS = st.lists(
    st.fixed_dictionaries(
        {"key": st.text(max_size=8), "x": st.one_of(st.none(), st.floats(allow_nan=False)), "b": st.binary(max_size=5)}
    ),
    min_size=1,
    max_size=20,
)
SCHEMA = pa.schema([("key", pa.string()), ("x", pa.float64()), ("b", pa.binary())])


def digest(rows):
    return RowDigest().add_table(pa.Table.from_pylist(rows, schema=SCHEMA)).hexdigest()


@settings(max_examples=50, deadline=None)
@given(ROWS, st.randoms(use_true_random=False), st.integers(0, 20))
def test_order_and_grouping_do_not_matter(rows, random, cut):
    shuffled = random.sample(rows, len(rows))
    first, second = shuffled[:cut], shuffled[cut:]
    merged = RowDigest()
    for group in (second, first):
        merged.merge(RowDigest.from_text(RowDigest().add_table(pa.Table.from_pylist(group, schema=SCHEMA)).to_text()))
    assert merged.hexdigest() == digest(rows)


def test_every_change_shows():
    rows = [{"key": "a", "x": 1.0, "b": b"p"}, {"key": "b", "x": None, "b": b""}]
    seen = {digest(rows)}
    for change in (
        [rows[0]],
        [*rows, rows[1]],
        [{**rows[0], "x": 1.0000001}, rows[1]],
        [{**rows[0], "b": b"q"}, rows[1]],
        [{**rows[0], "key": "b"}, {**rows[1], "key": "a"}],
    ):
        seen.add(digest(change))
    assert len(seen) == 6


def test_columns_left_out_do_not_count():
    table = pa.table({"key": ["a"], "fetched_at": ["today"]})
    other = pa.table({"key": ["a"], "fetched_at": ["tomorrow"]})
    assert (
        RowDigest().add_table(table, ["fetched_at"]).hexdigest()
        == RowDigest().add_table(other, ["fetched_at"]).hexdigest()
    )


def test_planned_parts_hold_every_row_once_whatever_the_order():
    keys = [f"key{i}" for i in range(1000)]
    parts = split_by_key(pa.table({"key": keys}), 100)
    again = split_by_key(pa.table({"key": keys[::-1]}), 100)
    assert {n: t.to_pylist() for n, t in parts.items()} == {n: t.to_pylist() for n, t in again.items()}
    assert sorted(k for t in parts.values() for k in t.column("key").to_pylist()) == sorted(keys)
    assert all(part_of_key(k, 16) == i for i, t in enumerate(parts.values()) for k in t.column("key").to_pylist())
