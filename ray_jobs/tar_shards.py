"""WebDataset shards: the pictures of one part as a tar, members of one sample together, in key order.

A member's name is the row's key, made safe for a file system and still unique. Members are read by name, into memory:
nothing is extracted.
"""

import hashlib
import io
import json
import re
import tarfile
from collections.abc import Callable, Sequence
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa

_UNSAFE = re.compile(r"[^\w-]+", re.ASCII)
_MOST_CHARS = 80


def tar_name(part: str) -> str:
    """The shard beside a part."""
    return str(PurePosixPath(part).with_suffix(".tar"))


def member_name(key: str) -> str:
    """``<prompt id>-<index>`` where the id is plain; else without dots, slashes or anything but ASCII, and a hash."""
    name = key.replace("/", "-")
    if key.count("/") == 1 and len(name) <= _MOST_CHARS and not _UNSAFE.search(name):
        return name
    return f"{_UNSAFE.sub('-', key)[:_MOST_CHARS]}~{hashlib.sha256(key.encode()).hexdigest()[:12]}"


def write_shard(rows: Sequence[dict[str, Any]]) -> bytes:
    """A tar with picture and JSON of every row that has a picture; equal rows give equal bytes."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for row in sorted((row for row in rows if row["image"] is not None), key=lambda row: str(row["key"])):
            fields = {name: value for name, value in row.items() if name != "image"}
            path = PurePosixPath(row["image"]["path"])
            described = json.dumps(fields, ensure_ascii=False, sort_keys=True, default=str).encode()
            for name, data in ((path.name, row["image"]["bytes"]), (f"{path.stem}.json", described)):
                member = tarfile.TarInfo(name)
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def fill_pictures(table: pa.Table, read_shard: Callable[[], bytes]) -> pa.Table:
    """The rows with the bytes of their pictures, which the shard holds under ``image.path``; no shard where no pictures."""
    column = table.column("image")
    images = column.to_pylist()
    if not any(images):
        return table
    with tarfile.open(fileobj=io.BytesIO(read_shard()), mode="r:") as tar:
        for image in images:
            if image is not None:
                stream = tar.extractfile(image["path"])
                assert stream is not None
                image["bytes"] = stream.read()
    return table.set_column(table.column_names.index("image"), "image", pa.array(images, column.type))
