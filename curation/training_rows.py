"""Builds `training_set` rows from `images` and `scores`: rows and pointers, no pixels."""

from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict

from curation.buckets import FULL_BUCKETS, BucketTable
from curation.duplicates import DuplicateSettings, Picture, find_duplicates
from curation.funnel import Funnel, count_funnel
from curation.records import TRAINING_SET
from curation.rejection import Rejection
from curation.rules import Candidate, RuleSettings, first_broken_rule
from curation.style_prefix import StyleSettings, add_prefix, choose_style

IMAGE_COLUMNS = (
    "key", "reason", "image_part", "image_row", "sha256", "stored_sha256", "width", "height",
    "captions_en", "captions_zh",
)  # fmt: skip
"""What is read of `images`; `image_part` and `image_row` are added by whoever knows the part a row came from."""

SCORE_COLUMNS = (
    "key", "reason", "caption_similarity_en", "caption_similarity_zh", "aesthetic", "cartoon_probability",
    "unsafe_probability", "perceptual_hash", "colour_layout",
)  # fmt: skip
"""What is read of `scores`."""


class TrainingSetSettings(BaseModel):
    """Thresholds, pools and sizes of a training set."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    buckets: BucketTable = FULL_BUCKETS
    rules: RuleSettings = RuleSettings()
    duplicates: DuplicateSettings = DuplicateSettings()
    style: StyleSettings = StyleSettings()


def build_training_rows(images: pa.Table, scores: pa.Table, settings: TrainingSetSettings) -> pa.Table:
    """All `images` rows as `training_set` rows in key order, kept or with a reason; the same for any input order.

    A row leaves for what happened to it before, then for the first rule it breaks, then as a duplicate of a picture
    that stays: one that leaves by a rule takes no other with it.
    """
    by_key = {score["key"]: score for score in _select(scores, SCORE_COLUMNS, "scores").to_pylist()}
    records = sorted(_select(images, IMAGE_COLUMNS, "images").to_pylist(), key=lambda record: str(record["key"]))
    _require_unique_keys(records)
    reasons = {record["key"]: _reason_alone(record, by_key.get(record["key"]), settings.rules) for record in records}
    pictures = [_as_picture(one, by_key[one["key"]]) for one in records if reasons[one["key"]] is None]
    for key, duplicate in find_duplicates(pictures, settings.duplicates).items():
        reasons[key] = duplicate.reason.value
    rows = [_training_row(record, by_key.get(record["key"]), reasons[record["key"]], settings) for record in records]
    return pa.Table.from_pylist(rows, schema=TRAINING_SET)


def training_funnel(taken: int, rows: pa.Table) -> Funnel:
    """The account of a training set by reason, and of what it keeps by style, bucket and texture eligibility."""
    columns = {name: rows[name].to_pylist() for name in ("style", "bucket", "texture_eligible")}
    return count_funnel(taken, rows["reason"].to_pylist(), columns)


def _select(table: pa.Table, names: tuple[str, ...], what: str) -> pa.Table:
    missing = [name for name in names if name not in table.column_names]
    if missing:
        raise ValueError(f"{what}: columns {', '.join(missing)} are missing; there are {', '.join(table.column_names)}")
    return table.select(list(names))


def _require_unique_keys(records: list[dict[str, Any]]) -> None:
    for before, record in pairwise(records):
        if before["key"] == record["key"]:
            raise ValueError(f"images: key {record['key']} occurs more than once")


def _reason_alone(record: dict[str, Any], score: dict[str, Any] | None, rules: RuleSettings) -> str | None:
    """Why the row leaves, other rows aside."""
    if record["reason"] is not None:
        return str(record["reason"])
    if score is None:
        return Rejection.NOT_SCORED.value
    if score["reason"] is not None:
        return str(score["reason"])
    similarities = (score["caption_similarity_en"], score["caption_similarity_zh"])
    broken = first_broken_rule(
        Candidate(
            width=record["width"],
            height=record["height"],
            num_captions=len(record["captions_en"] or ()) + len(record["captions_zh"] or ()),
            similarities=tuple(value for value in similarities if value is not None),
            aesthetic=score["aesthetic"],
            unsafe_probability=score["unsafe_probability"],
        ),
        rules,
    )
    return broken.value if broken is not None else None


def _as_picture(record: dict[str, Any], score: dict[str, Any]) -> Picture:
    hashes = tuple(dict.fromkeys(value for value in (record["sha256"], record["stored_sha256"]) if value))
    area = record["width"] * record["height"]
    return Picture(
        key=record["key"],
        byte_hashes=hashes,
        perceptual_hash=score["perceptual_hash"],
        area_px=area,
        aesthetic=_as_number(score["aesthetic"]),
        colour_layout=score["colour_layout"],
    )


def _as_number(value: float | None) -> float:
    return value if value is not None and not np.isnan(value) else -np.inf


def _training_row(
    record: dict[str, Any], score: dict[str, Any] | None, reason: str | None, settings: TrainingSetSettings
) -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys(TRAINING_SET.names) | {
        name: record[name]
        for name in ("key", "image_part", "image_row", "captions_en", "captions_zh", "width", "height")
    }
    row |= {"reason": reason}
    if score is not None:
        row |= {name: score[name] for name in ("aesthetic", "cartoon_probability")}
    if reason is not None or score is None:
        return row
    style = choose_style(score["aesthetic"], score["cartoon_probability"], settings.style)
    height, width = record["height"], record["width"]
    table = settings.buckets
    return row | {
        "style": style.value,
        "captions_en": [add_prefix(text, style, settings.style) for text in record["captions_en"] or ()],
        "captions_zh": [add_prefix(text, style, settings.style) for text in record["captions_zh"] or ()],
        "bucket": table.assign(height, width),
        "structure_crop": table.structure_crop(height, width).as_row(),
        "texture_crop": table.texture_crop(height, width).as_row(),
        "texture_eligible": table.is_texture_eligible(height, width),
    }
