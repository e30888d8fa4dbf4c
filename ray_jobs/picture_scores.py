"""Each generated picture's own scores, stored beside the metrics that are their means.

A version of ``metrics`` keeps them in ``metrics/<key>/beside/pictures.parquet``; `read_picture_scores` reads them.
"""

import hashlib
import io
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pangu.evaluation.neighbours import nearest_by_cosine
from ray_jobs.errors import AlreadyStored
from ray_jobs.manifest import Manifest
from ray_jobs.store import Store

if TYPE_CHECKING:  # reading scores needs no networks
    from pangu.evaluation.partial_state import PartialState

IMAGE_METRICS = {
    "clip_score": "clip_score",
    "cn_clip_score": "cn_clip_score",
    "aesthetic": "aesthetic",
    "cartoon_rate": "cartoon_probability",
}
"""A metric that is a mean over images, and the column of the values that it is the mean of; a rate counts those that
reach its threshold (see `is_cartoon`)."""

PICTURE_SCORES = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False),
        pa.field("prompt_id", pa.string()),
        pa.field("sample_index", pa.int32()),
        pa.field("seed", pa.int64()),
        pa.field("prompt", pa.string()),
        pa.field("language", pa.string()),
        pa.field("style", pa.string()),
        pa.field("bucket", pa.string()),
        pa.field("category", pa.string()),
        pa.field("strata", pa.list_(pa.string())),
        pa.field("image_sha256", pa.string()),
        pa.field("reason", pa.string()),
        pa.field("clip_score", pa.float64()),
        pa.field("cn_clip_score", pa.float64()),
        pa.field("aesthetic", pa.float64()),
        pa.field("cartoon_probability", pa.float64()),
        pa.field("is_cartoon", pa.bool_()),
        pa.field("reference_distance", pa.float64()),
        pa.field("reference_key", pa.string()),
    ]
)
"""One row a generated picture, in key order; a score is null where the picture has none. ``reason``: why it was not
measured. ``reference_distance``: 1 - cosine, on the scorer's features, to ``reference_key``, the nearest reference."""

_NAME = "beside/pictures.parquet"


def picture_scores(
    rows: pa.Table,
    generated: Mapping[str, "PartialState"],
    nearest_on: tuple["PartialState | None", "PartialState | None"],
    cartoon_threshold: float | None,
) -> pa.Table:
    """The table of `PICTURE_SCORES`. rows: as measured, in key order; nearest_on: both sides' states of one network."""
    values = {
        column: {
            key: float(value)
            for state in generated.values()
            for key, value in zip(state.keys, state.values.get(metric, ()), strict=False)
            if np.isfinite(value)
        }
        for metric, column in IMAGE_METRICS.items()
    }
    nearest = _nearest(*nearest_on)
    table = []
    for row in rows.to_pylist():
        key = row["key"]
        scores: dict[str, Any] = {column: found.get(key) for column, found in values.items()}
        probability = scores["cartoon_probability"]
        if probability is not None and cartoon_threshold is not None:
            scores["is_cartoon"] = probability >= cartoon_threshold
        scores["reference_distance"], scores["reference_key"] = nearest.get(key, (None, None))
        table.append({name: row.get(name) for name in PICTURE_SCORES.names} | scores)
    return pa.Table.from_pylist(table, schema=PICTURE_SCORES)


def _nearest(own: "PartialState | None", others: "PartialState | None") -> dict[str, tuple[float, str]]:
    if own is None or others is None or not len(own.features) or not len(others.features):
        return {}
    distances, found = nearest_by_cosine(own.features, others.features)
    return {
        key: (round(float(distance), 6), others.keys[index])
        for key, distance, index in zip(own.keys, distances, found, strict=False)
    }


def store_picture_scores(store: Store, prefix: str, table: pa.Table) -> dict[str, Any]:
    """Store the table beside a version that is about to be committed; what its manifest says of it."""
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd", write_page_checksum=True)
    data = sink.getvalue()
    with suppress(AlreadyStored):
        store.create(f"{prefix}/{_NAME}", data)
    return {"name": _NAME, "rows": table.num_rows, "sha256": hashlib.sha256(data).hexdigest()}


def read_picture_scores(store: Store, version: Manifest, columns: list[str] | None = None) -> pa.Table:
    """The pictures of a version of ``metrics``. ValueError where it was made before they were kept."""
    if "picture_scores" not in version.facts:
        raise ValueError(f"metrics@{version.key}: keeps no scores of single pictures; evaluate it again")
    data = store.read(f"{version.prefix}/{version.facts['picture_scores']['name']}")
    return pq.read_table(io.BytesIO(data), columns=columns, use_threads=False).replace_schema_metadata(None)


def per_prompt(rows: list[dict[str, Any]], metric: str) -> dict[str, float]:
    """Prompt id -> mean over its samples of what the metric is the mean of; prompts without a value are left out."""
    column = "is_cartoon" if metric == "cartoon_rate" else IMAGE_METRICS[metric]
    found: dict[str, list[float]] = {}
    for row in rows:
        if row[column] is not None and row["prompt_id"] is not None:
            found.setdefault(row["prompt_id"], []).append(float(row[column]))
    return {prompt: float(np.mean(values)) for prompt, values in found.items()}
