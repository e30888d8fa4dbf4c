"""Reads labelled pictures: a folder LABEL/[SOURCE/]*.jpg, or a Parquet file with `image` or `path`, and `label`.

A Parquet file may name each row's `group` (what must stay on one side of a split: frames of one film, crops of one
picture) and `source` (what figures are told apart by: a site, an art style). Subfolders of a label are sources.
What is read is listed first, by label alone, so that a wrong label or an empty class is known before any picture is
opened. A picture that cannot be had is a row with a reason.
"""

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from curation.errors import PictureError
from curation.rejection import Rejection

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"})
"""What counts as a picture in a folder; other files are counted as ignored."""

_ROWS_AT_ONCE = 64


@dataclass(frozen=True)
class Listed:
    """One picture before it is opened; `label` is None where the row has none."""

    name: str
    label: str | None
    group: str | None = None
    source: str | None = None


@dataclass(frozen=True)
class LabelledPictures:
    """The list, in a fixed order, and where the bytes are."""

    source: Path
    listed: tuple[Listed, ...]
    num_ignored_files: int

    def labels(self) -> Counter[str]:
        """Number of pictures of each label."""
        return Counter(one.label for one in self.listed if one.label is not None)

    def read(self) -> Iterator[bytes | PictureError]:
        """The encoded bytes of each listed picture in order, or why there are none."""
        if self.source.is_dir():
            yield from (_read_file(self.source / one.name) for one in self.listed)
        else:
            yield from _read_rows(self.source)


def list_labelled_pictures(source: Path) -> LabelledPictures:
    """The list of a folder or a Parquet file. ValueError says what is missing there."""
    if source.is_dir():
        return _list_folder(source)
    if source.is_file():
        return _list_parquet(source)
    raise ValueError(
        f"pictures: {source} is neither a folder nor a file; accepted are a folder LABEL/*.jpg or .parquet"
    )


def require_labels(counts: Counter[str], positive: str, min_per_class: int, where: str) -> None:
    """ValueError where `positive` is no label, is the only one, or a class is too small to be measured."""
    there = ", ".join(f"{label} ({number})" for label, number in counts.most_common(20)) or "none"
    if positive not in counts:
        raise ValueError(f"positive: {positive!r} is no label of {where}; the labels there: {there}")
    if len(counts) == 1:
        raise ValueError(f"pictures: {where} has the one label {positive!r}; a second one is needed")
    for name, number in (
        (repr(positive), counts[positive]),
        ("the other labels together", counts.total() - counts[positive]),
    ):
        if number < min_per_class:
            raise ValueError(
                f"pictures: {where} has {number} of {name}; at least {min_per_class} a class are needed "
                f"(min_per_class); the labels there: {there}"
            )


def _list_folder(folder: Path) -> LabelledPictures:
    listed, num_ignored = [], 0
    for path in _files_below(folder):
        steps = path.relative_to(folder).parts
        if len(steps) < 2 or path.suffix.lower() not in SUFFIXES or any(step.startswith(".") for step in steps):
            num_ignored += 1
            continue
        listed.append(Listed("/".join(steps), steps[0], source=steps[1] if len(steps) > 2 else None))
    if not listed:
        raise ValueError(
            f"pictures: {folder} has no pictures in folders of their labels; accepted is LABEL/*.jpg, .png, .webp "
            f"({num_ignored} other files there)"
        )
    return LabelledPictures(folder, tuple(listed), num_ignored)


def _files_below(folder: Path) -> list[Path]:
    """All files, by path; links are followed. ValueError for a folder that may not be read: its pictures would vanish."""

    def refuse(error: OSError) -> None:
        raise ValueError(f"pictures: the folder {error.filename} cannot be read: {error.strerror}") from error

    walk = os.walk(folder, onerror=refuse, followlinks=True)
    return sorted(Path(where, name) for where, _, names in walk for name in names)


def _read_file(path: Path) -> bytes | PictureError:
    try:
        return path.read_bytes()
    except OSError as error:
        return PictureError(Rejection.UNREADABLE_FILE, error.strerror or type(error).__name__)


def _list_parquet(path: Path) -> LabelledPictures:
    try:
        names = pq.read_schema(path).names
    except (OSError, pa.ArrowInvalid) as error:
        raise ValueError(f"pictures: {path} cannot be read as Parquet: {error}") from error
    if "label" not in names or not {"image", "path"} & set(names):
        raise ValueError(
            f"pictures: {path} needs a column 'label' and 'image' (bytes, or a struct of bytes and path) or 'path'; "
            f"the columns there: {', '.join(names)}"
        )
    wanted = [name for name in ("label", "group", "source", "path") if name in names]
    listed = []
    for number, row in enumerate(pq.read_table(path, columns=wanted).to_pylist()):
        told = {name: None if row.get(name) in (None, "") else str(row[name]) for name in ("label", "group", "source")}
        listed.append(Listed(str(row.get("path") or f"row {number}"), **told))
    return LabelledPictures(path, tuple(listed), 0)


def _read_rows(path: Path) -> Iterator[bytes | PictureError]:
    with pq.ParquetFile(path) as file:
        columns = [name for name in ("image", "path") if name in file.schema_arrow.names]
        for batch in file.iter_batches(batch_size=_ROWS_AT_ONCE, columns=columns):
            for row in batch.to_pylist():
                yield _bytes_of_row(row, path.parent)


def _bytes_of_row(row: dict[str, Any], folder: Path) -> bytes | PictureError:
    """`image` as bytes or {bytes, path}, else `path`; a relative path starts at the Parquet's folder."""
    image = row.get("image")
    inner = image if isinstance(image, dict) else {"bytes": image}
    data, path = inner.get("bytes"), inner.get("path") or row.get("path")
    if isinstance(data, bytes) and data:
        return data
    if data is not None and not isinstance(data, bytes):
        return PictureError(Rejection.MALFORMED_ROW, f"image holds {type(data).__name__}, accepted are bytes")
    if path:
        return _read_file(folder / str(path))
    return PictureError(Rejection.MALFORMED_ROW, "the row has neither the picture's bytes nor its path")
