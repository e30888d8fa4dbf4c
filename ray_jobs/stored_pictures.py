"""Some pictures of a large version: only the row groups that hold them are read."""

from collections.abc import Collection
from typing import Any

import pyarrow.parquet as pq

from ray_jobs.manifest import Manifest
from ray_jobs.parts import read_part
from ray_jobs.store import Store


def find_pictures(store: Store, version: Manifest, keys: Collection[str]) -> dict[str, dict[str, Any]]:
    """Key -> row with its picture, for those of ``keys`` that a version of ``generated_images`` holds.

    Parts whose pictures stand in a tar beside them are read as a whole.
    """
    wanted, found = set(keys), dict[str, dict[str, Any]]()
    in_tars = version.facts.get("container") == "webdataset"
    for part in version.parts:
        if not wanted:
            break
        rows = (
            _rows_in_tar(store, version, part.name, wanted) if in_tars else _rows_of(store, version, part.name, wanted)
        )
        for row in rows:
            found[row["key"]] = row
            wanted.discard(row["key"])
    return found


def _rows_in_tar(store: Store, version: Manifest, part: str, wanted: set[str]) -> list[dict[str, Any]]:
    keys = read_part(store, version, part, ["key"]).column("key").to_pylist()
    if wanted.isdisjoint(keys):
        return []
    return [row for row in read_part(store, version, part).to_pylist() if row["key"] in wanted]


def _rows_of(store: Store, version: Manifest, part: str, wanted: set[str]) -> list[dict[str, Any]]:
    path = store.path(f"{version.prefix}/{version.folder}/{part}")
    with store.filesystem.open(path, "rb", cache_type="none" if store.is_local else "readahead") as stream:
        file = pq.ParquetFile(stream)
        rows: list[dict[str, Any]] = []
        for group in range(file.num_row_groups):
            keys = file.read_row_group(group, columns=["key"], use_threads=False).column("key").to_pylist()
            if not wanted.isdisjoint(keys):
                table = file.read_row_group(group, use_threads=False)
                rows += [row for row in table.to_pylist() if row["key"] in wanted]
        return rows
