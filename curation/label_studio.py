"""Annotated pairs out of a Label Studio export (JSON or JSON-MIN): one row an annotation that was handed in.

The labelling page shows a text from the task's data and asks for a text in a TextArea. Which field holds the short
prompt, and which areas hold the enrichment, is for the caller to say, as a project is free to name them.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curation.annotated_pairs import PairRow, check_rows
from curation.language import caption_language


@dataclass(frozen=True)
class LabelStudioNames:
    """What the project calls things. licence: of what its annotators write, since an export does not say."""

    licence: str
    short: str = "prompt"
    enriched: tuple[str, ...] = ("enriched",)
    language: str = "language"


def read_label_studio(path: Path, names: LabelStudioNames) -> list[PairRow]:
    """One checked row an annotation; skipped and cancelled ones leave no row, an empty one leaves a row with its fault.

    Raises:
        ValueError: the file is no JSON list of tasks.
    """
    try:
        tasks = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"path: {path} is no Label Studio export: {error}") from error
    if not isinstance(tasks, list) or not all(isinstance(task, dict) for task in tasks):
        raise ValueError(f"path: {path} is no Label Studio export: accepted is a JSON list of tasks")
    return check_rows(record for task in tasks for record in _records(task, names))


def _records(task: Mapping[str, Any], names: LabelStudioNames) -> Iterator[dict[str, str]]:
    if "annotations" not in task and "data" not in task:  # JSON-MIN: the answers stand beside the data
        yield _record(task, _texts(next((task[name] for name in names.enriched if name in task), "")), task, names)
        return
    data = task.get("data") or {}
    for annotation in task.get("annotations") or []:
        if annotation.get("was_cancelled"):
            continue
        texts = [
            text
            for result in annotation.get("result") or []
            if result.get("from_name") in names.enriched
            for text in _texts((result.get("value") or {}).get("text"))
        ]
        yield _record(data, texts, annotation, names)


def _record(
    data: Mapping[str, Any], texts: list[str], annotation: Mapping[str, Any], names: LabelStudioNames
) -> dict[str, str]:
    short, enriched = str(data.get(names.short) or "").strip(), " ".join(texts).strip()
    return {
        "short": short,
        "enriched": enriched,
        "language": str(data.get(names.language) or caption_language(enriched or short) or ""),
        "author": _author(annotation),
        "licence": str(data.get("licence") or data.get("license") or names.licence),
    }


def _texts(value: object) -> list[str]:
    if isinstance(value, list):
        return [str(each).strip() for each in value]
    return [str(value).strip()] if value else []


def _author(annotation: Mapping[str, Any]) -> str:
    """Who wrote it, by Label Studio's number where the export names nobody; never a mail address."""
    found = annotation.get("completed_by", annotation.get("annotator"))
    if isinstance(found, dict):
        found = found.get("id")
    return "" if found is None else f"annotator {found}"
