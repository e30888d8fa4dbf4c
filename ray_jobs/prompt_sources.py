"""Prompts from a user's file (parquet, csv, tsv, jsonl, txt) or a published set, as records with the same few fields.

A record that cannot be used stays, with its reason; a file that cannot be read is a ValueError. Nothing here decides what
a prompt's id is: see `register_prompts`.
"""

import csv
import io
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ray_jobs.job_configs import PROMPT_SETS

Record = dict[str, Any]
"""Fields by name, as the file has them; ``reason`` where the record itself is broken, ``prompt`` then what there is."""

COLUMNS = (
    "prompt",
    "prompt_id",
    "language",
    "bucket",
    "size",
    "style",
    "negative",
    "seed",
    "category",
    "attributes",
)
_BYTE_ORDER_MARKS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}


def read_prompt_file(path: Path) -> list[Record]:
    """Records of a file, by its suffix. Further columns of a table come back under ``models``: a side-by-side list.

    Raises:
        ValueError: no such file, another suffix, unreadable, without a prompt column, or without any record.
    """
    readers: dict[str, Callable[[Path], list[Record]]] = {
        ".txt": _read_lines,
        ".csv": lambda path: _read_table(path, ","),
        ".tsv": lambda path: _read_table(path, "\t"),
        ".jsonl": _read_jsonl,
        ".parquet": _read_parquet,
    }
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise ValueError(f"register_prompts.path: {path} has suffix {path.suffix!r}; accepted are {', '.join(readers)}")
    try:
        records = reader(path)
    except (OSError, pa.ArrowException, csv.Error, UnicodeDecodeError) as error:
        raise ValueError(f"register_prompts.path: {path} cannot be read: {error}") from None
    if not records:
        raise ValueError(f"register_prompts.path: {path} holds no prompt")
    if not any("prompt" in record for record in records):
        found = sorted({str(name) for record in records for name in record} - {"reason"})
        raise ValueError(f"register_prompts.path: {path} has no column 'prompt'; it has {', '.join(found)}")
    return [_gather_models(record) for record in records]


def read_prompt_set(name: str, folder: Path) -> list[Record]:
    """Records of a published set, from the file of that set in the user's folder.

    Raises:
        ValueError: the set is unknown, its file is not there, or is not what it should be.
    """
    if name not in PROMPT_SETS:
        raise ValueError(f"register_prompts.prompt_set: {name!r} is unknown; accepted are {', '.join(PROMPT_SETS)}")
    path = folder / PROMPT_SETS[name]
    try:
        records = list(_SETS[name](path))
    except (OSError, KeyError, TypeError, ValueError, csv.Error) as error:
        raise ValueError(f"register_prompts.prompt_folder: {path} is not the {name} file: {error}") from None
    if not records:
        raise ValueError(f"register_prompts.prompt_folder: {path} holds no prompt")
    return records


def _gather_models(record: Record) -> Record:
    """Columns that are none of ours, by name: in a side-by-side list, what each model made of the prompt."""
    kept = {name: value for name, value in record.items() if name in (*COLUMNS, "reason", "models")}
    others = {
        str(name): value if isinstance(value, str | int | float | bool | dict | list) else str(value)
        for name, value in record.items()
        if name not in kept and value not in (None, "")
    }
    return kept | ({"models": others} if others and not kept.get("models") else {})


def _decode(path: Path) -> str:
    """A file's text: UTF-8 or, by its byte order mark, UTF-16. Bytes that are no UTF-8 become lone surrogates."""
    data = path.read_bytes()
    encoding = _BYTE_ORDER_MARKS.get(data[:2])
    return data.decode(encoding) if encoding else data.decode("utf-8-sig", errors="surrogateescape")


def _lines(path: Path) -> Iterator[str]:
    """Lines that hold anything, ended by LF, CRLF or CR alone: a Unicode line separator is part of a prompt."""
    return (line.rstrip("\n") for line in io.StringIO(_decode(path), newline=None) if line.strip())


def _read_lines(path: Path) -> list[Record]:
    return [{"prompt": line} for line in _lines(path)]


def _read_jsonl(path: Path) -> list[Record]:
    records: list[Record] = []
    for line in _lines(path):
        try:
            found = json.loads(line)
        except ValueError:
            found = None
        if isinstance(found, dict):
            records.append(found)
        else:
            records.append({"prompt": line, "reason": "unreadable_row"})
    return records


@contextmanager
def _long_fields() -> Iterator[None]:
    """Fields of any length: a huge prompt is a bad record, not a bad file."""
    before = csv.field_size_limit(2**31 - 1)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _read_table(path: Path, delimiter: str) -> list[Record]:
    records: list[Record] = []
    with _long_fields():
        for row in csv.DictReader(io.StringIO(_decode(path), newline=""), delimiter=delimiter):
            surplus = any(row.pop(None, ()))  # type: ignore[call-overload]
            if any(row.values()) or surplus:
                records.append(row | ({"reason": "unreadable_row"} if surplus else {}))
    return records


def _read_parquet(path: Path) -> list[Record]:
    records: list[Record] = pq.read_table(path).to_pylist()
    return records


def _parti(path: Path) -> Iterator[Record]:
    for row in _plain_table(path):
        attributes = {name.lower(): row[name] for name in ("Challenge", "Note") if row[name]}
        strata = ["text"] if row["Challenge"] == "Writing & Symbols" else []
        yield {"prompt": row["Prompt"], "category": row["Category"], "attributes": attributes, "strata": strata}


def _plain_table(path: Path) -> Iterator[dict[str, str]]:
    """Tab-separated rows whose quotation marks are part of the text."""
    names, *rows = (line.split("\t") for line in _lines(path))
    return (dict(zip(names, row + [""] * (len(names) - len(row)), strict=True)) for row in rows)


def _geneval(path: Path) -> Iterator[Record]:
    for row in map(json.loads, _lines(path)):
        wanted = {name: row[name] for name in ("include", "exclude") if name in row}
        yield {"prompt": row["prompt"], "category": row["tag"], "attributes": wanted, "language": "en"}


def _coco_2014(path: Path) -> Iterator[Record]:
    for row in csv.DictReader(io.StringIO(_decode(path), newline=""), delimiter="\t"):
        attributes = {"image_id": int(row["image_id"])}
        yield {"prompt": row["caption"], "prompt_id": f"coco-{row['id']}", "attributes": attributes, "language": "en"}


def _coco_2017(path: Path) -> Iterator[Record]:
    for row in map(json.loads, _lines(path)):
        for index, caption in enumerate(row["captions"]):
            name = f"coco-{row['image_id']}-{index}"
            yield {
                "prompt": caption,
                "prompt_id": name,
                "attributes": {"image_id": row["image_id"]},
                "language": "en",
            }


def _coco_cn(path: Path) -> Iterator[Record]:
    for line in _lines(path):
        name, _, caption = line.partition("\t")
        image = int(name.partition("#")[0].rsplit("_", 1)[1])
        yield {"prompt": caption, "prompt_id": name, "attributes": {"image_id": image}, "language": "zh"}


def _coco_pairs(path: Path) -> Iterator[Record]:
    for row in map(json.loads, _lines(path)):
        for language in ("zh", "en"):
            name = f"coco-{row['image_id']}-{language}"
            yield {
                "prompt": row[language],
                "prompt_id": name,
                "attributes": {"image_id": row["image_id"]},
                "language": language,
            }


_SETS: dict[str, Callable[[Path], Iterator[Record]]] = {
    "partiprompts": _parti,
    "geneval": _geneval,
    "coco_val2014": _coco_2014,
    "coco_val2017": _coco_2017,
    "coco_cn": _coco_cn,
    "coco_cn_pairs": _coco_pairs,
}
assert _SETS.keys() == PROMPT_SETS.keys()
