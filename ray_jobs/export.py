"""Copies a version out of the store for other tools: rows as WebDataset or Parquet, folders as they are."""

import io
import json
import tarfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ray_jobs.folder_versions import fetch_version
from ray_jobs.manifest import Manifest
from ray_jobs.parts import read_part
from ray_jobs.store import Store
from ray_jobs.versions import Versions

LAYOUTS = ("webdataset", "parquet")
WITH_PIXELS = ("training_set", "images", "generated_images")


def export_version(store: Store, reference: str, to: Path, layout: str) -> str:
    """Write a version's kept rows, or its files, into a new folder; one line that says what was written."""
    if layout not in LAYOUTS:
        raise ValueError(f"--format: {layout!r} is unknown; accepted are {', '.join(LAYOUTS)}")
    if to.exists() and any(to.iterdir()):
        raise ValueError(f"--to: {to} is not empty; accepted is an empty or new folder")
    version = Versions(store).resolve(reference)
    to.mkdir(parents=True, exist_ok=True)
    if version.folder != "parts":
        fetch_version(store, version, to)
        return f"{len(version.parts)} files of {version.artifact}@{version.key} in {to}"
    if layout == "webdataset" and version.artifact not in WITH_PIXELS:
        raise ValueError(f"--format: {version.artifact} has no pictures; accepted is parquet")
    write = _write_tar if layout == "webdataset" else _write_parquet
    written = 0
    for part in version.parts:
        rows = exported_rows(store, version, part.name)
        written += rows.num_rows
        write(rows, to / Path(part.name).with_suffix(".tar" if layout == "webdataset" else ".parquet").name)
    (to / "manifest.json").write_bytes(version.encode())
    return f"{written} rows of {version.artifact}@{version.key} as {layout} in {to}"


def exported_rows(store: Store, version: Manifest, part: str) -> pa.Table:
    """A part's kept rows; those of a training set with the pixels that they point to."""
    table = read_part(store, version, part)
    if "reason" in table.column_names:
        table = table.filter(pa.array([reason is None for reason in table.column("reason").to_pylist()], pa.bool_()))
    if version.artifact != "training_set":
        return table
    images = Versions(store).find("images", version.inputs["images"].key)
    if images is None:
        raise ValueError(f"training_set@{version.key}: its images are no longer in the store")
    rows = table.select(["image_part", "image_row"]).to_pylist()
    by_part: dict[str, list[int]] = defaultdict(list)
    for index, row in enumerate(rows):
        by_part[row["image_part"]].append(index)
    pictures: list[dict[str, Any] | None] = [None] * len(rows)
    for name, members in by_part.items():
        stored = read_part(store, images, name, ["image"]).column("image")
        for index in members:
            pictures[index] = stored[rows[index]["image_row"]].as_py()
    image_type = pa.struct([pa.field("bytes", pa.binary()), pa.field("path", pa.string())])
    return table.drop_columns(["image_part", "image_row"]).append_column("image", pa.array(pictures, image_type))


def _write_parquet(rows: pa.Table, path: Path) -> None:
    pq.write_table(rows, path, compression="zstd")


def _write_tar(rows: pa.Table, path: Path) -> None:
    """Members of one sample stand together, in key order, as WebDataset readers expect."""
    with tarfile.open(path, "w") as tar:
        for row in sorted(rows.to_pylist(), key=lambda row: str(row["key"])):
            image = row.pop("image")
            name = str(row["key"]).replace("/", "-").replace(".", "_")
            fields = json.dumps(row, ensure_ascii=False, sort_keys=True, default=str).encode()
            for suffix, data in ((Path(image["path"]).suffix, image["bytes"]), (".json", fields)):
                member = tarfile.TarInfo(name + suffix)
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
