"""Writes a fitted style classifier: the head with its band, the report, the figure, and what became of each picture."""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from curation.calibration import Scale
from curation.calibration_markdown import report_markdown
from curation.calibration_report import Calibration, HeldOut
from curation.cartoon_classifier import HIGH_FIELD, LOW_FIELD
from curation.errors import ScorerError
from curation.head_fitting import FittedHead
from curation.labelled_embeddings import LabelledRow
from curation.linear_head import FINGERPRINT_FIELD, read_head, write_head
from curation.reliability_figure import draw_reliability
from curation.style_probe import ProbeFit

PICTURES = pa.schema(
    [
        ("name", pa.string()),
        ("label", pa.string()),
        ("group", pa.string()),
        ("source", pa.string()),
        ("sha256", pa.string()),
        ("reason", pa.string()),
        ("error_message", pa.string()),
        ("unit", pa.int64()),
        ("fold", pa.int64()),
        ("probability", pa.float64()),
        ("decision", pa.string()),
    ]
)
"""Every listed picture; `probability` and `decision` (yes, no, open) as told while its unit was held out."""

_DECISIONS = {1: "yes", -1: "no", 0: "open"}


@dataclass(frozen=True)
class PublishedHead:
    """A head's file and the version that stands in the scores."""

    path: Path
    version: str


def publish_head(
    folder: Path, positive: str, head: FittedHead, calibration: Calibration, clip_fingerprint: str
) -> PublishedHead:
    """Write the head so that its sigmoid is the calibrated probability, its band in the metadata.

    A file that already holds exactly this is left alone: safetensors orders metadata at random, and what was scored
    with the file would seem to be out of date.
    """
    layer = scaled_layer(head, calibration.scale)
    facts = {
        "positive_label": positive,
        LOW_FIELD: str(calibration.band.low),
        HIGH_FIELD: str(calibration.band.high),
        "calibration": calibration.method,
    }
    told = json.dumps([facts, clip_fingerprint], sort_keys=True).encode() + layer[0].tobytes() + layer[1].tobytes()
    slug = re.sub(r"[^\w.-]+", "_", positive).strip("._") or "style"
    version = f"{slug}-probe-{hashlib.sha256(told).hexdigest()[:12]}"
    path = folder / f"{slug}_head.safetensors"
    if not _holds(path, version, clip_fingerprint):
        partial = path.with_suffix(".partial")
        write_head(partial, [layer], clip_fingerprint, version, facts)
        partial.replace(path)
    return PublishedHead(path, version)


def scaled_layer(head: FittedHead, scale: Scale) -> tuple[Any, Any]:
    """(weight (1, E), bias (1,)) float32 whose value is slope * head + offset."""
    weight = scale.slope * head.weight.astype(np.float64)
    bias = scale.slope * head.bias.astype(np.float64) + scale.offset
    return weight.astype(np.float32), bias.astype(np.float32)


def _holds(path: Path, version: str, clip_fingerprint: str) -> bool:
    try:
        metadata = read_head(path)[1]
    except ScorerError:
        return False
    return (metadata.get("version"), metadata.get(FINGERPRINT_FIELD)) == (version, clip_fingerprint)


def describe(
    rows: Sequence[LabelledRow], num_ignored: int, held: HeldOut, probe: ProbeFit, calibration: Calibration
) -> dict[str, Any]:
    """What report.json holds of pictures, split, head and calibration."""
    left = Counter(row.reason for row in rows if row.reason is not None)
    sizes = Counter(held.units.tolist())
    return {
        "labels": dict(Counter(held.labels).most_common()),
        "rows": {
            "listed": len(rows),
            "used": len(held.truth),
            "left": dict(left.most_common()),
            "ignored": num_ignored,
        },
        "split": {
            "folds": int(held.folds.max()) + 1,
            "units": len(sizes),
            "largest_unit": max(sizes.values()),
            "by": "group and look" if any(group is not None for group in held.groups) else "look",
        },
        "head": {
            "strength": probe.strength,
            "strengths_of_folds": list(probe.strengths_of_folds),
            "loss_of_strength": {str(strength): loss for strength, loss in probe.loss_of_strength.items()},
            "unconverged_fits": probe.num_unconverged,
        },
        "calibration": calibration.as_dict(),
    }


def write_report(folder: Path, report: dict[str, Any], held: HeldOut, calibration: Calibration) -> None:
    """report.json, report.md and reliability.png."""
    plain = json.loads(json.dumps(report), parse_constant=lambda _: None)  # NaN is no JSON
    (folder / "report.json").write_text(json.dumps(plain, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    (folder / "report.md").write_text(report_markdown(plain), encoding="utf-8")
    figures = calibration.figures
    heading = (
        f"{len(held.truth)} held-out pictures: area {calibration.area:.4f}, Brier {figures.brier:.4f}, "
        f"calibration error {figures.calibration_error:.4f}"
    )
    band = (calibration.band.low, calibration.band.high)
    tables = (calibration.reliability, calibration.reliability_in_doubt)
    draw_reliability(tables, calibration.probabilities, held.truth, band, heading).save(folder / "reliability.png")


def write_pictures(path: Path, rows: Sequence[LabelledRow], held: HeldOut, calibration: Calibration) -> None:
    """The `PICTURES` rows, in the order of the list."""
    position = {sha256: at for at, sha256 in enumerate(held.sha256s)}
    records = []
    for row in rows:
        record = dict.fromkeys(PICTURES.names) | asdict(row.listed)
        record |= {"sha256": row.sha256, "reason": row.reason, "error_message": row.error_message}
        if row.reason is None:
            at = position[str(row.sha256)]
            record |= {
                "unit": int(held.units[at]),
                "fold": int(held.folds[at]),
                "probability": float(calibration.probabilities[at]),
                "decision": _DECISIONS[int(calibration.decisions[at])],
            }
        records.append(record)
    pq.write_table(pa.Table.from_pylist(records, schema=PICTURES), path)
