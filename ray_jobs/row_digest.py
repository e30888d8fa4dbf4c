"""A digest over logical rows that does not depend on how they are laid out.

Each row (its columns by name, observations left out) is expanded to 1024 sixteen-bit lanes with SHAKE-128; rows add up
lane by lane. Sums merge in any order, so parts, workers and input order cannot change the result, and the same row twice
does change it. Source: LtHash (Bellare and Micciancio 1997; Lewi et al., IACR 2019/227).
"""

import base64
import hashlib
import struct
from collections.abc import Collection
from typing import Any

import numpy as np
import pyarrow as pa

LANES = 1024


class RowDigest:
    """A mergeable multiset digest: add tables in any order and grouping, then read `hexdigest`."""

    def __init__(self, lanes: np.ndarray[Any, np.dtype[np.uint16]] | None = None, rows: int = 0) -> None:
        """Start empty, or from lanes: (1024,) uint16 and a row count."""
        self.lanes = np.zeros(LANES, dtype=np.uint16) if lanes is None else lanes
        self.rows = rows

    def add_table(self, table: pa.Table, leave_out: Collection[str] = ()) -> "RowDigest":
        """Add every row; ``leave_out`` names the columns that are observations or physical pointers."""
        names = sorted(set(table.column_names) - set(leave_out))
        head = "\0".join(names).encode()
        for batch in table.select(names).to_batches(max_chunksize=256):
            for row in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                encoded = bytearray(head)
                for value in row:
                    _encode(value, encoded)
                self.lanes += np.frombuffer(hashlib.shake_128(encoded).digest(2 * LANES), dtype="<u2")
                self.rows += 1
        return self

    def merge(self, other: "RowDigest") -> "RowDigest":
        """Add another digest's rows to this one."""
        self.lanes += other.lanes
        self.rows += other.rows
        return self

    def hexdigest(self) -> str:
        """64 hex characters for the whole multiset."""
        return hashlib.sha256(self.lanes.astype("<u2").tobytes() + struct.pack("<q", self.rows)).hexdigest()

    def to_text(self) -> str:
        """The mergeable state as text, for a part's metadata."""
        return f"{self.rows}:{base64.b64encode(self.lanes.astype('<u2').tobytes()).decode()}"

    @classmethod
    def from_text(cls, text: str) -> "RowDigest":
        """Read back `to_text`."""
        rows, _, lanes = text.partition(":")
        return cls(np.frombuffer(base64.b64decode(lanes), dtype="<u2").astype(np.uint16), int(rows))


def _encode(value: object, into: bytearray) -> None:
    """Append an unambiguous encoding: a type letter, a length where there is one, the value."""
    if value is None:
        into += b"n"
    elif isinstance(value, bool):
        into += b"t" if value else b"f"
    elif isinstance(value, int):
        into += b"i%d;" % value
    elif isinstance(value, float):
        into += b"d" + struct.pack("<d", value)
    elif isinstance(value, bytes):
        into += b"b%d:" % len(value) + value
    elif isinstance(value, str):
        data = value.encode()
        into += b"s%d:" % len(data) + data
    elif isinstance(value, list):
        into += b"l%d:" % len(value)
        for item in value:
            _encode(item, into)
    elif isinstance(value, dict):
        into += b"m%d:" % len(value)
        for key in sorted(value):
            _encode(key, into)
            _encode(value[key], into)
    else:
        into += b"o"
        _encode(str(value), into)
