"""register_pairs: annotated pairs from files, a Label Studio export and the set that ships, as rows in planned parts."""

import hashlib
from pathlib import Path
from typing import Any

import pyarrow as pa

from curation.annotated_pairs import PairRow, check_rows, read_pair_file, starter_pairs
from curation.label_studio import LabelStudioNames, read_label_studio
from curation.sample.scene_prompts import scene_pairs
from ray_jobs.enhancer_configs import RegisterPairs
from ray_jobs.errors import JobError
from ray_jobs.job import JobContext
from ray_jobs.manifest import Manifest
from ray_jobs.parts import not_digested, split_by_key, write_part

PAIRS = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False),
        pa.field("source", pa.string()),
        pa.field("number", pa.int64()),
        pa.field("short", pa.string()),
        pa.field("enriched", pa.string()),
        pa.field("language", pa.string()),
        pa.field("author", pa.string()),
        pa.field("licence", pa.string()),
        pa.field("held_out", pa.bool_()),
        pa.field("reason", pa.string()),
        pa.field("detail", pa.string()),
    ]
)
"""``number`` is the row's in its source, from 1; ``reason`` names the field that is wrong with it, or
'duplicate', and ``detail`` says why. Equal short prompts are held out together."""


def run(context: JobContext[RegisterPairs]) -> Manifest:
    """Read, check, split by key hash, commit. JobError where too many rows have a fault: it names the first three."""
    config = context.config
    rows = [row for source, found in _sources(config).items() for row in _to_rows(source, found, config)]
    faulty = [row for row in rows if row["reason"] is not None]
    if not rows or len(faulty) > config.max_faulty_share * len(rows):
        shown = "; ".join(_told(row) for row in faulty[:3])
        raise JobError(
            f"register_pairs: {len(faulty)} of {len(rows)} rows have a fault, which is above max_faulty_share = "
            f"{config.max_faulty_share}: {shown}"
        )
    parts = split_by_key(pa.Table.from_pylist(rows, schema=PAIRS), config.rows_per_part)
    summaries = [
        write_part(context.store, context.prefix, name, table, not_digested("pairs")) for name, table in parts.items()
    ]
    context.progress.report(len(parts), len(parts), "parts")
    return context.commit_parts(summaries, facts={"faults": [_told(row) for row in faulty]})


def _sources(config: RegisterPairs) -> dict[str, list[PairRow]]:
    found: dict[str, list[PairRow]] = {}
    if config.path is not None:
        found["file"] = read_pair_file(Path(config.path))
    if config.label_studio is not None:
        names = LabelStudioNames(config.licence or "", config.short_field, config.enriched_areas)
        found["label_studio"] = read_label_studio(Path(config.label_studio), names)
    if config.starter:
        found["starter"] = check_rows(vars(pair) for pair in starter_pairs())
    if config.scene_pairs:
        made = scene_pairs(config.scene_pairs)
        fields = ({"short": p.short.prompt, "enriched": p.enriched, "language": p.short.language} for p in made)
        found["scenes"] = check_rows(each | {"author": "scene_prompts", "licence": "CC0-1.0"} for each in fields)
    return found


def _to_rows(source: str, rows: list[PairRow], config: RegisterPairs) -> list[dict[str, Any]]:
    return [
        {
            **row.fields,
            "key": hashlib.sha256(f"{source}\0{row.number}\0{row.fields}".encode()).hexdigest()[:24],
            "source": source,
            "number": row.number,
            "held_out": _is_held_out(row.fields["short"], config.held_out_share),
            "reason": None if row.fault is None else row.fault.partition(": ")[0],
            "detail": None if row.fault is None else row.fault.partition(": ")[2],
        }
        for row in rows
    ]


def _told(row: dict[str, Any]) -> str:
    return f"{row['source']} row {row['number']}: {row['reason']}: {row['detail']}"


def _is_held_out(short: str, share: float) -> bool:
    head = int.from_bytes(hashlib.sha256(short.casefold().encode()).digest()[:8], "big")
    return head < share * 2**64
