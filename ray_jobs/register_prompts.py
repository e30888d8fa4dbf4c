"""register_prompts: a prompt file, a published prompt set or the sample's held-out prompts, as rows in planned parts."""

import hashlib
import json
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import pyarrow as pa

from curation.buckets import SAMPLE_BUCKETS
from curation.language import caption_language
from curation.sample.scene_captions import sample_prompts
from ray_jobs.job import JobContext
from ray_jobs.job_configs import PROMPT_SETS, RegisterPrompts, digest_of_path
from ray_jobs.manifest import Manifest
from ray_jobs.parts import not_digested, split_by_key, write_part
from ray_jobs.prompt_sources import Record, read_prompt_file, read_prompt_set

PROMPTS = pa.schema(
    [
        pa.field("prompt_id", pa.string(), nullable=False),
        pa.field("prompt", pa.string()),
        pa.field("language", pa.string()),
        pa.field("bucket", pa.int32()),
        pa.field("size", pa.string()),
        pa.field("style", pa.string()),
        pa.field("negative", pa.string()),
        pa.field("seed", pa.int64()),
        pa.field("category", pa.string()),
        pa.field("strata", pa.list_(pa.string())),
        pa.field("attributes", pa.string()),
        pa.field("models", pa.string()),
        pa.field("reason", pa.string()),
    ]
)
"""``size`` is WIDTHxHEIGHT in px; a row has it or ``bucket`` or neither, which is square. ``seed`` is the prompt's own, in
place of one drawn from its id. ``category`` is the set's own; ``strata`` are those that every set is looked at by.
``attributes`` (a drawn scene, what GenEval checks) and ``models`` (a side-by-side list: model name to its picture) are
JSON."""

MAX_PROMPT_CHARS = 10_000
MAX_ID_CHARS = 200
UNDETERMINED = "und"
"""The language of a prompt without a letter, by ISO 639-2."""

_LANGUAGE = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]{1,8})*")
_SIZE = re.compile(r"([1-9]\d{0,4})\s*[x\u00d7*]\s*([1-9]\d{0,4})", re.IGNORECASE)
_WITH_TEXT = re.compile(
    r"\b(text|words?|letters?|(?:that|which) (?:says|reads)|saying|written|writing|caption(?:ed)?|logo)\b"
    r"|文字|字样|写着|标语|标志上",
    re.IGNORECASE,
)
_WITH_SMALL_FACES = re.compile(
    r"\b(crowds?|audience|spectators|people|players|children|kids|pedestrians|soldiers"
    r"|(?:group|team|family|class) of (?:\w+ ){0,2}(?:men|women|students))\b"
    r"|人群|一群人|许多人|很多人|几个人|孩子们|人们|行人",
    re.IGNORECASE,
)


def run(context: JobContext[RegisterPrompts]) -> Manifest:
    """Read, check, split by key hash, commit."""
    config = context.config
    rows, facts = _read(config)
    if config.max_prompts is not None:
        rows = sorted(rows, key=lambda row: hashlib.sha256(row["prompt_id"].encode()).digest())[: config.max_prompts]
    rows = shard_of(rows, config.shard or 0, config.num_shards)
    parts = split_by_key(pa.Table.from_pylist(rows, schema=PROMPTS), config.rows_per_part)
    summaries = [
        write_part(context.store, context.prefix, name, table, not_digested("prompts")) for name, table in parts.items()
    ]
    context.progress.report(len(parts), len(parts), "parts")
    return context.commit_parts(summaries, facts=facts)


def shard_of(rows: list[dict[str, Any]], shard: int, num_shards: int) -> list[dict[str, Any]]:
    """The rows of one shard, by the hashes of their ids: together, the shards are the whole, each prompt once."""
    return [
        row
        for row in rows
        if int(hashlib.sha256(f"shard {row['prompt_id']}".encode()).hexdigest()[:16], 16) % num_shards == shard
    ]


def _read(config: RegisterPrompts) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    if config.prompt_set is not None:
        folder = Path(config.prompt_folder or "")
        file = folder / PROMPT_SETS[config.prompt_set]
        rows = to_rows(read_prompt_set(config.prompt_set, folder))
        version = digest_of_path(file)
        if config.prompt_set_version not in (None, version):
            raise ValueError(
                f"register_prompts.prompt_set_version = {config.prompt_set_version!r}: {file} has version {version}"
            )
        source = f"{config.prompt_set}@{version}"
        return rows, {"source": source, "prompt_set": config.prompt_set, "prompt_set_version": version}
    if config.path:
        return read_prompts(Path(config.path)), {"source": config.path}
    return write_sample_prompts(config.num_prompts), {"source": "the sample's held-out scenes"}


def write_sample_prompts(num_prompts: int) -> list[dict[str, Any]]:
    """Prompts of drawn scenes whose combinations the sample's training pictures leave out; three in four are square."""
    square = num_prompts - num_prompts // 4
    aspects = tuple(row.structure[1] / row.structure[0] for row in SAMPLE_BUCKETS.rows)
    prompts = sample_prompts(square) + sample_prompts(num_prompts - square, seed=1, aspects=aspects)
    names = ("prompt_id", "prompt", "language", "bucket", "style", "attributes")
    return [{name: getattr(prompt, name) for name in names} for prompt in prompts]


def read_prompts(path: Path) -> list[dict[str, Any]]:
    """Rows of a prompt file. ValueError for an unreadable file; a record that cannot be used stays with a reason."""
    return to_rows(read_prompt_file(path))


def to_rows(records: list[Record]) -> list[dict[str, Any]]:
    """One row a record, each with an id of its own; which of them is refused does not depend on their order."""
    rows = [_to_row(record) for record in records]
    by_id: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        by_id[row["prompt_id"]].append(row)
    taken = set(by_id)
    for prompt_id, members in by_id.items():
        members.sort(key=lambda row: json.dumps(row, sort_keys=True, ensure_ascii=False))
        for number, row in enumerate(members[1:], start=2):
            if not row.pop("id_is_ours", False):
                row["reason"] = row["reason"] or f"duplicate_prompt_id: {prompt_id}"
            occurrence = number
            while (other := f"{prompt_id}~{occurrence}") in taken:
                occurrence += 1
            row["prompt_id"] = other
            taken.add(other)
    for row in rows:
        row.pop("id_is_ours", None)
    return rows


def _to_row(record: Record) -> dict[str, Any]:
    """A record's row; the first thing that is wrong with it is its reason."""
    reasons: list[str] = [str(record["reason"])] if record.get("reason") else []
    prompt = _text(record, "prompt", reasons).strip()
    if not prompt:
        reasons.append("no_prompt")
    if len(prompt) > MAX_PROMPT_CHARS:
        reasons.append("prompt_too_long")
    language = _text(record, "language", reasons).strip() or caption_language(prompt[:MAX_PROMPT_CHARS]) or UNDETERMINED
    if not _LANGUAGE.fullmatch(language):
        reasons.append("unknown_language")
    row = {
        "prompt": prompt[:MAX_PROMPT_CHARS],
        "language": language[:MAX_ID_CHARS],
        "bucket": _number(record.get("bucket"), 10, "unknown_bucket", reasons),
        "size": _as_size(_text(record, "size", reasons), reasons),
        "style": _text(record, "style", reasons) or None,
        "negative": _text(record, "negative", reasons)[:MAX_PROMPT_CHARS] or None,
        "seed": _number(record.get("seed"), 2**63 - 1, "bad_seed", reasons),
        "category": _text(record, "category", reasons) or None,
        "strata": sorted({*(record.get("strata") or []), *_strata_of(prompt)}),
        "attributes": _as_json(record.get("attributes"), reasons),
        "models": _as_json(record.get("models"), reasons),
    }
    if row["bucket"] is not None and row["size"] is not None:
        reasons.append("bucket_and_size")
    given = _text(record, "prompt_id", reasons).strip()
    if len(given) > MAX_ID_CHARS or not given.isprintable():
        reasons.append("bad_prompt_id")
        given = ""
    row["prompt_id"] = given or _digest_of(prompt, row)
    row["id_is_ours"] = not given
    row["reason"] = reasons[0] if reasons else None
    return row


def _digest_of(prompt: str, row: dict[str, Any]) -> str:
    """An id for what has none: of the prompt, and of whatever else is asked for."""
    wanted = {name: row[name] for name in ("bucket", "size", "style", "negative", "seed") if row[name] is not None}
    asked = json.dumps(wanted, sort_keys=True) if wanted else "0"
    return hashlib.sha256(f"{prompt}\0{asked}".encode()).hexdigest()[:24]


def _strata_of(prompt: str) -> list[str]:
    """What generators find hard, by the words that ask for it: small faces and readable text."""
    head = prompt[:MAX_PROMPT_CHARS]
    return [
        name for name, pattern in (("small faces", _WITH_SMALL_FACES), ("text", _WITH_TEXT)) if pattern.search(head)
    ]


def _text(record: Record, name: str, reasons: list[str]) -> str:
    """A field as text that UTF-8 and every tokenizer can take; what is left out gives a reason."""
    value = record.get(name)
    if value is None or (isinstance(value, float) and value != value):
        return ""
    text = value.decode("utf-8", errors="surrogateescape") if isinstance(value, bytes) else str(value)
    if "\0" in text:
        reasons.append(f"nul_in_{name}")
        text = text.replace("\0", "\ufffd")
    if any("\ud800" <= char <= "\udfff" for char in text):
        reasons.append(f"not_unicode_{name}")
        text = "".join("\ufffd" if "\ud800" <= char <= "\udfff" else char for char in text)
    return text


def _number(value: object, most: int, reason: str, reasons: list[str]) -> int | None:
    """A whole number from 0 to ``most``; None where none is given, None and a reason for anything else."""
    if value is None or value == "" or value != value:
        return None
    try:
        number = int(value) if isinstance(value, float) and value.is_integer() else int(str(value))
    except ValueError:
        number = -1
    if 0 <= number <= most:
        return number
    reasons.append(reason)
    return None


def _as_size(text: str, reasons: list[str]) -> str | None:
    if not text.strip():
        return None
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        reasons.append("unknown_size")
        return None
    return f"{int(found[1])}x{int(found[2])}"


def _as_json(value: object, reasons: list[str]) -> str | None:
    """Text as it is, anything else as JSON."""
    if value is None or value in ("", {}, []):
        return None
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True, default=str)
    return _text({"attributes": text}, "attributes", reasons)
