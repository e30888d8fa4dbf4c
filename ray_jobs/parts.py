"""Planned parts: which rows go where is decided by content before any work, so a killed job loses only unwritten parts.

A part is a Parquet file of a few hundred rows. Its schema metadata carries its mergeable digest and counts by reason. What
a commit needs to know of it is also stored beside it, so a resumed job reads a few kilobytes a part instead of pictures.
"""

import hashlib
import io
import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from ray_jobs.artifacts import ARTIFACTS
from ray_jobs.errors import AlreadyStored
from ray_jobs.kill_points import kill_point
from ray_jobs.manifest import Manifest, Part
from ray_jobs.row_digest import RowDigest
from ray_jobs.store import Store
from ray_jobs.tar_shards import fill_pictures, tar_name

ROW_GROUP_ROWS = 64
_META = b"pangu.part"


@dataclass(frozen=True)
class PartSummary:
    """What the commit needs to know of one stored part."""

    part: Part
    digest: RowDigest
    counts: dict[str, int]

    def to_json(self) -> str:
        """One line, for the store and for the way from worker to driver."""
        fields = {"part": self.part.model_dump(), "digest": self.digest.to_text(), "counts": self.counts}
        return json.dumps(fields, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str | bytes) -> "PartSummary":
        """Read back `to_json`."""
        fields = json.loads(text)
        return cls(Part.model_validate(fields["part"]), RowDigest.from_text(fields["digest"]), fields["counts"])


@dataclass(frozen=True)
class PartContent:
    """A part's rows and the files that go beside it: name (with no folder) to bytes."""

    table: pa.Table
    beside: Mapping[str, bytes]


def num_parts_for(rows: int, rows_per_part: int) -> int:
    """The power of two that gives parts of at most about ``rows_per_part`` rows."""
    num = 1
    while num * rows_per_part < rows:
        num *= 2
    return num


def part_of_key(key: str, num_parts: int) -> int:
    """The hash range a key falls into: 0 <= part < num_parts, a power of two."""
    head = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big")
    return head * num_parts >> 64


def part_name(index: int, num_parts: int) -> str:
    """The file name of a part."""
    return f"{index:05d}-of-{num_parts:05d}.parquet"


def split_by_key(table: pa.Table, rows_per_part: int) -> dict[str, pa.Table]:
    """Rows (column 0 or ``key`` is the key) grouped into planned parts, each in key order; empty parts included."""
    key_column = "key" if "key" in table.column_names else table.column_names[0]
    keys = table.column(key_column).to_pylist()
    num = num_parts_for(len(keys), rows_per_part)
    order = sorted(range(len(keys)), key=lambda i: keys[i])
    rows_of: dict[int, list[int]] = {index: [] for index in range(num)}
    for row in order:
        rows_of[part_of_key(keys[row], num)].append(row)
    return {part_name(index, num): table.take(pa.array(rows, pa.int64())) for index, rows in rows_of.items()}


def count_reasons(table: pa.Table) -> dict[str, int]:
    """``in``, ``kept`` and one entry per reason; rows without a ``reason`` column are all kept."""
    counts = {"in": table.num_rows}
    if "reason" not in table.column_names:
        return counts | {"kept": table.num_rows}
    reasons = Counter(table.column("reason").to_pylist())
    counts["kept"] = reasons.pop(None, 0)
    return counts | {str(reason): number for reason, number in sorted(reasons.items())}


def merge_counts(counts: Sequence[dict[str, int]]) -> dict[str, int]:
    """Counts added up by name, ``in`` and ``kept`` first."""
    total = Counter({"in": 0, "kept": 0})
    for one in counts:
        total.update(one)
    return dict(total)


def write_part(
    store: Store,
    prefix: str,
    name: str,
    table: pa.Table,
    not_digested: Collection[str],
    beside: Mapping[str, bytes] | None = None,
) -> PartSummary:
    """Store one part create-only. If it is already there (another worker, an earlier run), that one counts.

    beside: files that the rows point into; stored first, so that a stored part has them.
    """
    digest = RowDigest().add_table(table, not_digested)
    counts = count_reasons(table)
    note = json.dumps({"digest": digest.to_text(), "counts": counts})
    table = table.replace_schema_metadata({_META: note.encode()})
    sink = io.BytesIO()
    pq.write_table(table, sink, row_group_size=ROW_GROUP_ROWS, compression="zstd", write_page_checksum=True)
    data = sink.getvalue()
    path = f"{prefix}/parts/{name}"
    kill_point("part.before_create")
    for file, content in (beside or {}).items():
        with suppress(AlreadyStored):
            store.create(f"{prefix}/beside/{file}", content)
    try:
        store.create(path, data)
    except AlreadyStored:
        return read_summary(store, prefix, name)
    kill_point("part.after_create")
    summary = PartSummary(_describe(name, data, table.num_rows), digest, counts)
    with suppress(AlreadyStored):
        store.create(_summary_name(prefix, name), summary.to_json().encode())
    kill_point("part.after_summary")
    return summary


def _summary_name(prefix: str, name: str) -> str:
    return f"{prefix}/summaries/{name.removesuffix('.parquet')}.json"


def read_summary(store: Store, prefix: str, name: str) -> PartSummary:
    """The summary of a stored part; from the part itself where its writer died before it could store one."""
    with suppress(FileNotFoundError):
        return PartSummary.from_json(store.read(_summary_name(prefix, name)))
    data = store.read(f"{prefix}/parts/{name}")
    metadata = pq.read_metadata(io.BytesIO(data))
    note = json.loads(metadata.metadata[_META])
    return PartSummary(_describe(name, data, metadata.num_rows), RowDigest.from_text(note["digest"]), note["counts"])


def _describe(name: str, data: bytes, rows: int) -> Part:
    return Part(name=name, bytes=len(data), sha256=hashlib.sha256(data).hexdigest(), rows=rows)


def read_part(store: Store, version: Manifest, name: str, columns: list[str] | None = None) -> pa.Table:
    """One part's rows, pictures from the tar beside it where they stand there."""
    data = store.read(f"{version.prefix}/{version.folder}/{name}")
    table = pq.read_table(io.BytesIO(data), columns=columns, use_threads=False).replace_schema_metadata(None)
    if version.facts.get("container") == "webdataset" and "image" in table.column_names:
        return fill_pictures(table, lambda: store.read(f"{version.prefix}/beside/{tar_name(name)}"))
    return table


def read_rows(store: Store, version: Manifest, columns: list[str] | None = None) -> pa.Table:
    """All rows of a version (some columns): for tables that fit in memory, so not for pixels."""
    return pa.concat_tables([read_part(store, version, part.name, columns) for part in version.parts])


def not_digested(artifact: str) -> frozenset[str]:
    """Columns of an artifact that stay out of its digest."""
    return ARTIFACTS[artifact].not_digested
