"""Annotated pairs: a short prompt and what a person made of it, with language, author and licence; checked row by row.

A file is JSON lines, CSV, TSV or Parquet with the columns `FIELDS`. The starter set of both languages that ships is our
own writing, under CC0.
"""

import csv
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from curation.language import caption_language, count_han

FIELDS = ("short", "enriched", "language", "author", "licence")
LANGUAGES = ("en", "zh")
MAX_SHORT_CHARS, MAX_ENRICHED_CHARS = 300, 2000
_UNSTATED = frozenset({"", "unknown", "none", "n/a", "null", "all rights reserved"})


@dataclass(frozen=True)
class AnnotatedPair:
    """One pair that passed `fault_of`."""

    short: str
    enriched: str
    language: str
    author: str
    licence: str


@dataclass(frozen=True)
class PairRow:
    """A row of a file: its number from 1, its fields as text, and what is wrong with it, if anything."""

    number: int
    fields: Mapping[str, str]
    fault: str | None

    @property
    def pair(self) -> AnnotatedPair:
        """The pair of a row without a fault."""
        assert self.fault is None
        return AnnotatedPair(**{name: self.fields[name] for name in FIELDS})


def check_rows(records: Iterable[Mapping[str, Any]]) -> list[PairRow]:
    """Every record as a row with its fault, duplicates of an earlier row among them."""
    rows: list[PairRow] = []
    first_of: dict[tuple[str, str], int] = {}
    for number, record in enumerate(records, start=1):
        fields = {name: _text(record.get(name)) for name in FIELDS}
        fault = fault_of(fields)
        same = (fields["short"].casefold(), fields["enriched"].casefold())
        if fault is None and same in first_of:
            fault = f"duplicate: of row {first_of[same]}"
        first_of.setdefault(same, number)
        rows.append(PairRow(number, fields, fault))
    return rows


def fault_of(fields: Mapping[str, str]) -> str | None:
    """What is wrong with one pair, as `<field>: <why>`; None where nothing is."""
    for name in FIELDS:
        if not fields[name]:
            return f"{name}: missing"
    language, short, enriched = fields["language"], fields["short"], fields["enriched"]
    if language not in LANGUAGES:
        return f"language: {language!r}; accepted are {', '.join(LANGUAGES)}"
    if fields["licence"].casefold() in _UNSTATED:
        return f"licence: {fields['licence']!r} says nothing; accepted is a licence's name, such as CC0-1.0"
    for name, most in (("short", MAX_SHORT_CHARS), ("enriched", MAX_ENRICHED_CHARS)):
        if len(fields[name]) > most:
            return f"{name}: {len(fields[name])} characters; accepted are at most {most}"
        found = caption_language(fields[name])
        if found != language:
            return f"{name}: reads as {found}, the row says {language}"
    if _length(enriched) <= _length(short):
        return "enriched: no longer than the short prompt"
    return None


def read_pair_file(path: Path) -> list[PairRow]:
    """All rows of a file, in its order.

    Raises:
        ValueError: the file is not there, cannot be read, or is of another kind.
    """
    readers = {".jsonl": _read_jsonl, ".csv": _read_csv, ".tsv": _read_csv, ".parquet": _read_parquet}
    if path.suffix not in readers or not path.is_file():
        raise ValueError(f"path: {path} is no file of annotated pairs; accepted are {', '.join(readers)}")
    try:
        return check_rows(readers[path.suffix](path))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"path: {path} cannot be read: {error}") from error


def starter_pairs() -> list[AnnotatedPair]:
    """The pairs that ship, English and Chinese; every one passes the check."""
    text = resources.files("curation").joinpath("starter_pairs.jsonl").read_text(encoding="utf-8")
    return [row.pair for row in check_rows(json.loads(line) for line in text.splitlines())]


def write_pair_file(path: Path, pairs: Iterable[AnnotatedPair]) -> None:
    """Write JSON lines that `read_pair_file` reads."""
    lines = [json.dumps(asdict(pair), ensure_ascii=False) for pair in pairs]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _read_jsonl(path: Path) -> Iterator[Mapping[str, Any]]:
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            record = {}
        yield record if isinstance(record, dict) else {}


def _read_csv(path: Path) -> Iterator[Mapping[str, Any]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        yield from csv.DictReader(file, delimiter="\t" if path.suffix == ".tsv" else ",")


def _read_parquet(path: Path) -> Iterator[Mapping[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        yield from pq.read_table(path).to_pylist()
    except pa.ArrowInvalid as error:
        raise ValueError(f"path: {path} is not Parquet: {error}") from error


def _text(value: object) -> str:
    return "" if value is None else str(value).strip()


def _length(text: str) -> int:
    """Words, a Han character counting as one."""
    han = count_han(text)
    return han if han else len(text.split())
