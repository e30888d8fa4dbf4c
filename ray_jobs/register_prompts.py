"""register_prompts: a user's prompt file, or the sample's held-out prompts, as rows in planned parts."""

import csv
import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from curation.buckets import SAMPLE_BUCKETS
from curation.language import caption_language
from curation.sample.scene_captions import sample_prompts
from ray_jobs.job import JobContext
from ray_jobs.job_configs import RegisterPrompts
from ray_jobs.manifest import Manifest
from ray_jobs.parts import not_digested, split_by_key, write_part

PROMPTS = pa.schema(
    [
        pa.field("prompt_id", pa.string(), nullable=False),
        pa.field("prompt", pa.string()),
        pa.field("language", pa.string()),
        pa.field("bucket", pa.int32()),
        pa.field("style", pa.string()),
        pa.field("attributes", pa.string()),
        pa.field("reason", pa.string()),
    ]
)
"""``attributes`` is the JSON of a drawn scene, or null; a null bucket is the square one."""

_LANGUAGES = ("en", "zh")


def run(context: JobContext[RegisterPrompts]) -> Manifest:
    """Read, check, split by key hash, commit."""
    config = context.config
    rows = read_prompts(Path(config.path)) if config.path else write_sample_prompts(config.num_prompts)
    parts = split_by_key(pa.Table.from_pylist(rows, schema=PROMPTS), config.rows_per_part)
    summaries = [
        write_part(context.store, context.prefix, name, table, not_digested("prompts")) for name, table in parts.items()
    ]
    context.progress.report(len(parts), len(parts), "parts")
    return context.commit_parts(summaries, facts={"source": config.path or "the sample's held-out scenes"})


def write_sample_prompts(num_prompts: int) -> list[dict[str, Any]]:
    """Prompts of drawn scenes whose combinations the sample's training pictures leave out; three in four are square."""
    square = num_prompts - num_prompts // 4
    aspects = tuple(row.structure[1] / row.structure[0] for row in SAMPLE_BUCKETS.rows)
    prompts = sample_prompts(square) + sample_prompts(num_prompts - square, seed=1, aspects=aspects)
    names = [field.name for field in PROMPTS if field.name != "reason"]
    return [{name: getattr(prompt, name) for name in names} for prompt in prompts]


def read_prompts(path: Path) -> list[dict[str, Any]]:
    """Rows of a prompt file. ValueError for an unreadable file; a row without a prompt stays with a reason."""
    readers = {".txt": _read_lines, ".csv": _read_csv, ".jsonl": _read_jsonl, ".parquet": _read_parquet}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise ValueError(f"register_prompts.path: {path} has suffix {path.suffix!r}; accepted are {', '.join(readers)}")
    try:
        found = reader(path)
    except (OSError, pa.ArrowException, json.JSONDecodeError, csv.Error, UnicodeDecodeError) as error:
        raise ValueError(f"register_prompts.path: {path} cannot be read: {error}") from None
    if not found:
        raise ValueError(f"register_prompts.path: {path} holds no prompt")
    if not any("prompt" in row for row in found):
        raise ValueError(f"register_prompts.path: {path} has no column 'prompt'; it has {', '.join(sorted(found[0]))}")
    seen: Counter[str] = Counter()
    rows = []
    for row in found:
        prompt = str(row.get("prompt") or "").strip()
        rows.append(_to_row(prompt, seen[prompt], row))
        seen[prompt] += 1
    return rows


def _to_row(prompt: str, occurrence: int, row: dict[str, Any]) -> dict[str, Any]:
    digest = hashlib.sha256(f"{prompt}\0{occurrence}".encode()).hexdigest()[:24]
    reason = None if prompt else "no_prompt"
    language = row.get("language") or caption_language(prompt)
    bucket = _as_bucket(row.get("bucket"))
    if bucket == -1:
        bucket, reason = None, reason or "unknown_bucket"
    if language not in _LANGUAGES:
        reason = reason or "unknown_language"
    return {
        "prompt_id": str(row.get("prompt_id") or digest),
        "prompt": prompt,
        "language": language,
        "bucket": bucket,
        "style": row.get("style") or None,
        "attributes": row.get("attributes") or None,
        "reason": reason,
    }


def _as_bucket(value: object) -> int | None:
    """A row index, None where none is given, -1 for what is no index."""
    if value is None or value == "":
        return None
    try:
        index = int(str(value))
    except ValueError:
        return -1
    return index if 0 <= index <= 10 else -1


def _read_lines(path: Path) -> list[dict[str, Any]]:
    return [{"prompt": line} for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]


def _read_csv(path: Path) -> list[dict[str, Any]]:
    with path.open(encoding="utf-8-sig", newline="") as lines:
        return list(csv.DictReader(lines))


def _read_jsonl(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]


def _read_parquet(path: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(path).to_pylist()
    return rows
