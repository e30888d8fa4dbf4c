"""Reads a user's list of pictures into `url_list` rows: csv, tsv, jsonl, parquet or plain lines of URLs."""

import csv
import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict

from curation.language import split_by_language
from curation.records import KEY_CHARS, URL_LIST
from curation.rejection import Rejection

FORMATS = ("csv", "tsv", "jsonl", "parquet", "txt")


class UrlListColumns(BaseModel):
    """What the columns of the user's list are called; all but `url` may be missing from the list."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str = "url"
    caption: str = "caption"
    captions_en: str = "captions_en"
    captions_zh: str = "captions_zh"
    licence: str = "licence"
    sha256: str = "sha256"


def read_url_list(path: Path, columns: UrlListColumns | None = None) -> pa.Table:
    """The list at `path` as rows of `URL_LIST`, in key order; a row that cannot be used has its reason.

    Rows of one URL are one record: the fullest is kept and takes over the others' captions. ValueError where the file
    cannot be read, is of another format, or has no URL column.
    """
    columns = columns or UrlListColumns()
    return make_url_list(_read_rows(path, columns), columns)


def make_url_list(rows: Iterable[Mapping[str, Any] | None], columns: UrlListColumns | None = None) -> pa.Table:
    """`URL_LIST` rows of the user's rows (None: a row that could not be read); the same for any order of them."""
    columns = columns or UrlListColumns()
    by_url: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        record = _to_record(row, columns)
        by_url[record["url"] or ""].append(record)
    records: list[dict[str, Any]] = []
    for url, same in by_url.items():
        same.sort(key=_fullest_first)
        records += _merge_duplicates(url, same)
    records.sort(key=lambda record: str(record["key"]))
    return pa.Table.from_pylist(records, schema=URL_LIST)


def record_key(url: str) -> str:
    """The key of the record that this URL is."""
    return hashlib.sha256(url.encode()).hexdigest()[:KEY_CHARS]


def _read_rows(path: Path, columns: UrlListColumns) -> Iterator[Mapping[str, Any] | None]:
    suffix = path.suffix.lower().lstrip(".")
    if suffix not in FORMATS:
        raise ValueError(f"URL list {path}: unknown format {suffix!r}; known are {', '.join(FORMATS)}")
    try:
        if suffix == "parquet":
            yield from _read_parquet(path, columns)
        elif suffix == "jsonl":
            yield from _read_jsonl(path, columns)
        elif suffix == "txt":
            for line in path.read_text(encoding="utf-8-sig").splitlines():
                if line.strip() and not line.startswith("#"):
                    yield {columns.url: line.strip()}
        else:
            yield from _read_delimited(path, columns, "," if suffix == "csv" else "\t")
    except (OSError, UnicodeDecodeError, csv.Error, pa.ArrowInvalid) as error:
        raise ValueError(f"URL list {path}: cannot be read: {error}") from error


def _read_parquet(path: Path, columns: UrlListColumns) -> Iterator[Mapping[str, Any]]:
    with pq.ParquetFile(path) as file:
        _require_url_column(path, columns, file.schema_arrow.names)
        wanted = [name for name in columns.model_dump().values() if name in file.schema_arrow.names]
        for batch in file.iter_batches(columns=wanted):
            yield from batch.to_pylist()


def _read_jsonl(path: Path, columns: UrlListColumns) -> Iterator[Mapping[str, Any] | None]:
    seen: set[str] = set()
    with path.open(encoding="utf-8-sig") as lines:
        rows = [_parse_object(line) for line in lines if line.strip()]
    for row in rows:
        seen.update(row or ())
    _require_url_column(path, columns, sorted(seen))
    yield from rows


def _parse_object(line: str) -> Mapping[str, Any] | None:
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) else None


def _read_delimited(path: Path, columns: UrlListColumns, delimiter: str) -> Iterator[Mapping[str, Any] | None]:
    with path.open(encoding="utf-8-sig", newline="") as lines:
        reader = csv.DictReader(lines, delimiter=delimiter, strict=True)
        _require_url_column(path, columns, list(reader.fieldnames or ()))
        for row in reader:
            yield None if None in row else row  # more cells than columns: which is which cannot be known


def _require_url_column(path: Path, columns: UrlListColumns, present: list[str]) -> None:
    if columns.url not in present:
        raise ValueError(
            f"URL list {path}: column {columns.url!r} is missing; the columns there are {', '.join(present) or 'none'}"
        )


def _to_record(row: Mapping[str, Any] | None, columns: UrlListColumns) -> dict[str, Any]:
    row = row if row is not None else {}
    en, zh = split_by_language(_as_texts(row.get(columns.caption)))
    sha256 = str(row.get(columns.sha256) or "").strip().lower() or None
    record: dict[str, Any] = {
        "url": str(row.get(columns.url) or "").strip(),
        "captions_en": list(dict.fromkeys(_as_texts(row.get(columns.captions_en)) + en)),
        "captions_zh": list(dict.fromkeys(_as_texts(row.get(columns.captions_zh)) + zh)),
        "licence": str(row.get(columns.licence) or "").strip() or "unknown",
        "sha256": sha256,
        "reason": None,
    }
    if not row:
        record["reason"] = Rejection.MALFORMED_ROW.value
    elif not _is_web_url(record["url"]):
        record["reason"] = Rejection.INVALID_URL.value
    elif sha256 is not None and not re.fullmatch(r"[0-9a-f]{64}", sha256):
        record["reason"] = Rejection.INVALID_SHA256.value
    return record


def _as_texts(value: object) -> list[str]:
    """Captions of one cell: a text, a list of them, or a JSON list in a text (as csv files carry one)."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = json.loads(value)
        except ValueError:
            return [str(value).strip()]
    texts = value if isinstance(value, list | tuple) else [value]
    return [text.strip() for text in texts if isinstance(text, str) and text.strip()]


def _is_web_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme.lower() in ("http", "https") and bool(parts.hostname)


def _fullest_first(record: Mapping[str, Any]) -> tuple[bool, int, str]:
    num_captions = len(record["captions_en"]) + len(record["captions_zh"])
    return record["reason"] is not None, -num_captions, json.dumps(record, sort_keys=True, ensure_ascii=False)


def _merge_duplicates(url: str, same: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Rows of one URL, fullest first: the first stays, the others leave with keys of their own."""
    first, *others = same
    for name in ("captions_en", "captions_zh"):
        usable = [record for record in others if record["reason"] is None]
        first[name] = list(dict.fromkeys(first[name] + [text for record in usable for text in record[name]]))
    yield first | {"key": record_key(url)}
    for count, record in enumerate(others, 1):
        reason = record["reason"] or Rejection.DUPLICATE_URL.value
        yield record | {"key": record_key(f"{url}\n{count}"), "reason": reason}
