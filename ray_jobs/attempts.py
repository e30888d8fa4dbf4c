"""Work that kills its worker: every beginning is noted in the store first, so that whoever tries again knows of the deaths.

Ray Data begins a part anew, without end, when its worker dies. Deaths count within one run of the driver: where the driver
died too, nothing is known of who is to blame.
"""

import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import pyarrow as pa

from ray_jobs.errors import AlreadyStored
from ray_jobs.kill_points import kill_point
from ray_jobs.parts import PartContent
from ray_jobs.store import Store

MOST_PART_DEATHS = 3
"""So often a whole part is tried before it is done row by row, by workers that can."""

MOST_DEATHS = 10
"""So often a part is tried by workers that cannot: more, for the fault may be another part's (memory that leaks)."""

MOST_ROW_DEATHS = 2
"""So often a row is tried by itself; then it is given up, with a reason."""

KILLS_ITS_WORKER = f"killed its worker {MOST_ROW_DEATHS} times when it was tried by itself"


@dataclass(frozen=True)
class Attempts:
    """The notes of one run of a driver on one version."""

    store: Store
    prefix: str
    run: str = field(default_factory=lambda: uuid.uuid4().hex[:12])

    def begin(self, name: str) -> int:
        """Note that this work begins; how often it was begun before in this run, which is how often it died."""
        deaths = 0
        while True:
            try:
                self.store.create(f"{self.prefix}/begun/{name}/{self.run}-{deaths:04d}", uuid.uuid4().bytes)
            except AlreadyStored:
                deaths += 1
                continue
            kill_point("part.after_begin")
            return deaths

    def guard_rows(self, part: str, life: int) -> Callable[[int], bool]:
        """What a part done row by row asks before each: notes that the row begins, or says no where it died too often.

        life: what `begin` gave for the part. In each earlier life the row that was begun last is the one that died.
        """
        folder = f"{self.prefix}/begun-rows/{part}/{self.run}"
        last: dict[str, str] = {}
        for name in self.store.names(folder):
            of_life, row = name.rsplit("/", 2)[1:]
            last[of_life] = max(row, last.get(of_life, ""))
        deaths = Counter(last.values())

        def may_begin(row: int) -> bool:
            if deaths[f"{row:06d}"] >= MOST_ROW_DEATHS:
                return False
            self.store.create(f"{folder}/{life:04d}/{row:06d}", uuid.uuid4().bytes)
            return True

        return may_begin


class RowByRowWorker(Protocol):
    """A worker that can also do a part one row after the other, each asked for before it is begun."""

    def row_by_row(self, part: str, may_begin: Callable[[int], bool]) -> pa.Table | PartContent:
        """As a call with the part; a row (by its place) that may not begin gets `KILLS_ITS_WORKER` in its reason."""
        ...
