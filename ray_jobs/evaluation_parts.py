"""One part of an evaluation: its pictures decoded once, every network once, and what they found as mergeable states.

A stored part is one row a picture (labels, or the reason why there is nothing to measure) and, beside it, one state a
network. Both sides are stored alike: the generated pictures under the new version, the reference under a name that is
decided by its content, where the next night finds it.
"""

import hashlib
import io
import json
from collections import defaultdict
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from curation.crop_plan import CropPlan, apply_crop
from curation.decode import decode_rgb
from curation.errors import PictureError
from pangu.evaluation.evaluation_pass import EvaluationPass, States, merge_passes
from pangu.evaluation.features import UInt8Image
from pangu.evaluation.state_file import state_from_bytes, state_to_bytes
from ray_jobs.claims import claim_version
from ray_jobs.device import torch_device
from ray_jobs.evaluation_networks import Networks, load_networks
from ray_jobs.evaluation_sides import GENERATED, LABELS, REFERENCE
from ray_jobs.job import JobContext
from ray_jobs.job_configs import EvaluateImages
from ray_jobs.part_runner import WorkerSetup, read_plan, run_parts
from ray_jobs.parts import PartContent, PartSummary, read_part, read_rows
from ray_jobs.store import Store

MEASURED = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False),
        pa.field("prompt_id", pa.string()),
        pa.field("sample_index", pa.int32()),
        pa.field("seed", pa.int64()),
        pa.field("prompt", pa.string()),
        *(pa.field(name, pa.string()) for name in LABELS),
        pa.field("strata", pa.list_(pa.string())),
        pa.field("image_sha256", pa.string()),
        pa.field("reason", pa.string()),
    ]
)
"""``reason``: why a row was not measured; of a generated row without a picture, the reason that generation gave. The
reference has no prompts."""

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
FOLDER_PART_ROWS = 64

Details = dict[str, list[dict[str, Any]]]


@dataclass(frozen=True)
class Side:
    """All pictures of one side. rows: `MEASURED`, in key order; parts_read: how many parts this run had to look at."""

    rows: pa.Table
    states: States
    parts_read: int
    content: str = ""

    @property
    def num_measured(self) -> int:
        """Pictures that were measured."""
        return int(self.rows.column("reason").null_count)


class GeneratedWorker:
    """Measures the pictures of one part of ``generated_images``."""

    def __init__(self, setup: WorkerSetup) -> None:
        """Load the networks once."""
        config = setup.config
        assert isinstance(config, EvaluateImages)
        self.store, self.inputs, self.prefix, self.config = setup.store, setup.inputs, setup.prefix, config
        networks = load_networks(config, setup.inputs.get("scores"), torch_device(config.runtime))
        self.passing = self.make_pass(networks)

    def make_pass(self, networks: Networks) -> EvaluationPass:
        """Every network, with its text tower."""
        return EvaluationPass(networks.extractors, networks.metrics, text_embedders=networks.text_embedders)

    def __call__(self, part: str) -> PartContent:
        """One row a picture, and one state a network where there is any picture."""
        rows = read_part(self.store, self.inputs[GENERATED], part.removeprefix("generated-")).to_pylist()
        pictures: list[UInt8Image | None] = []
        for row in rows:
            image = row.pop("image")
            pictures.append(None if row["reason"] else _decode(row, image["bytes"]))
        return self.measure(part, rows, pictures)

    def measure(self, part: str, rows: list[dict[str, Any]], pictures: list[UInt8Image | None]) -> PartContent:
        """rows: with a picture of (H, W, 3) each, or with the reason why there is none."""
        there = [(row, picture) for row, picture in zip(rows, pictures, strict=True) if picture is not None]
        beside = {}
        if there:
            states = self.passing.run(
                [row["key"] for row, _ in there],
                [picture for _, picture in there],
                prompts=[row.get("prompt") for row, _ in there],
                languages=[row.get("language") for row, _ in there],
            )
            beside = {_state_name(part, name): state_to_bytes(state) for name, state in states.items()}
        named = [{name: row.get(name) for name in MEASURED.names} for row in rows]
        for row in named:
            row["bucket"] = None if row["bucket"] is None else str(row["bucket"])
        return PartContent(pa.Table.from_pylist(named, schema=MEASURED), beside)


class ReferenceWorker(GeneratedWorker):
    """Measures the reference pictures that stand in one part of ``images``."""

    def __init__(self, setup: WorkerSetup) -> None:
        """Read which pictures were chosen, and load the networks once."""
        super().__init__(setup)
        plan = read_plan(setup.store, setup.prefix)
        assert plan is not None
        self.chosen: Details = plan["details"]

    def make_pass(self, networks: Networks) -> EvaluationPass:
        """Only the networks that compare with the reference."""
        return EvaluationPass(networks.extractors, networks.reference_metrics)

    def __call__(self, part: str) -> PartContent:
        """The chosen pictures as the structure expert saw them: cropped and shrunk."""
        stored = read_part(self.store, self.inputs["images"], part.removeprefix("reference-"), ["image"])["image"]
        rows = [dict(row) for row in self.chosen[part]]
        pictures = [_decode(row, stored[row["image_row"]].as_py()["bytes"], row["structure_crop"]) for row in rows]
        return self.measure(part, rows, pictures)


class FolderReferenceWorker(ReferenceWorker):
    """Measures the reference pictures of one part of a folder's list, as they are."""

    def __call__(self, part: str) -> PartContent:
        """The listed files; one that is no picture is a row with a reason."""
        config = self.config
        rows = [dict(row) for row in self.chosen[part]]
        pictures = [_decode(row, (Path(config.reference) / row["key"]).read_bytes()) for row in rows]
        return self.measure(part, rows, pictures)


def _decode(row: dict[str, Any], data: bytes, crop: dict[str, Any] | None = None) -> UInt8Image | None:
    """The picture as (H, W, 3); where it cannot be had, None, and the row says why."""
    try:
        picture = decode_rgb(data)
    except PictureError as error:
        row["reason"] = error.reason.value
        return None
    return np.asarray(picture if crop is None else apply_crop(picture, CropPlan(**crop)))


def measure_generated(context: JobContext[EvaluateImages]) -> Side:
    """Every part of the generated pictures; those that an earlier attempt has stored are only read back."""
    stored = read_plan(context.store, context.prefix)
    names = [f"generated-{part.name}" for part in context.input(GENERATED).parts]
    return _measure(context, stored["parts"] if stored else names, GeneratedWorker)


def measure_reference(context: JobContext[EvaluateImages], networks: Networks) -> Side:
    """The reference, from the store if these networks have seen these pictures before; nothing where none is asked for."""
    reference = context.config.reference
    if reference == "none":
        return Side(MEASURED.empty_table(), {}, 0, "none")
    from_folder = reference != REFERENCE
    details = list_folder(Path(reference), context.config.num_reference) if from_folder else choose_reference(context)
    images = context.config.decisive()["reference"] if from_folder else context.input("images").digest
    material = {
        "images": images,
        "chosen": details,
        "networks": {name: asdict(card) for name, card in networks.cards.items()},
        "metrics": sorted({metric.extractor for metric in networks.reference_metrics}),
        "threads": context.config.runtime.threads,
        "code_version": context.plan.job.code_version,
    }
    content = hashlib.sha256(json.dumps(material, sort_keys=True).encode()).hexdigest()
    own = replace(context, plan=replace(context.plan, key=f"reference-{content[:24]}"), device_seconds=0.0)
    claim_version(context.store, own.prefix)
    found = _measure(own, sorted(details), FolderReferenceWorker if from_folder else ReferenceWorker, details)
    context.device_seconds += own.device_seconds
    return replace(found, content=content)


def choose_reference(context: JobContext[EvaluateImages]) -> Details:
    """The kept pictures to compare with, by planned part: the first ``num_reference`` in key order, a hash's order."""
    wanted = ["key", "reason", "style", "bucket", "image_part", "image_row", "structure_crop"]
    rows = read_rows(context.store, context.input(REFERENCE), wanted).to_pylist()
    kept = sorted((row for row in rows if row["reason"] is None), key=lambda row: str(row["key"]))
    details: Details = defaultdict(list)
    for row in kept[: context.config.num_reference]:
        details[f"reference-{row.pop('image_part')}"].append(row)
    return dict(details)


def list_folder(folder: Path, num_reference: int) -> Details:
    """The pictures of a folder by planned part, in the order of their names' hashes. ValueError where there are none."""
    names = [
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.suffix.lower() in PICTURE_SUFFIXES
    ]
    if not names:
        suffixes = ", ".join(PICTURE_SUFFIXES)
        raise ValueError(
            f"evaluate_images.reference = {str(folder)!r}: no picture; accepted is a folder with {suffixes}"
        )
    chosen = sorted(names, key=lambda name: hashlib.sha256(name.encode()).digest())[:num_reference]
    cuts = range(0, len(chosen), FOLDER_PART_ROWS)
    return {
        f"reference-{start // FOLDER_PART_ROWS:05d}.parquet": [
            {"key": name} for name in chosen[start:][:FOLDER_PART_ROWS]
        ]
        for start in cuts
    }


def _measure(
    context: JobContext[EvaluateImages], parts: list[str], worker: type[Any], details: Details | None = None
) -> Side:
    """Run what is missing and merge everything."""
    before = {name.rsplit("/", 1)[1] for name in context.store.names(f"{context.prefix}/parts")}
    summaries = run_parts(context, parts, worker, details=details)
    tables = [_read_table(context.store, context.prefix, summary) for summary in summaries]
    rows = pa.concat_tables([MEASURED.empty_table(), *tables]).sort_by("key")
    measured = [summary for summary in summaries if summary.counts["kept"]]
    beside = context.store.names(f"{context.prefix}/beside")
    states = merge_passes(_read_states(context.store, beside, each.part.name) for each in measured) if measured else {}
    return Side(rows, states, len(set(parts) - before))


def _read_table(store: Store, prefix: str, summary: PartSummary) -> pa.Table:
    data = store.read(f"{prefix}/parts/{summary.part.name}")
    return pq.read_table(io.BytesIO(data), schema=MEASURED, use_threads=False).replace_schema_metadata(None)


def _read_states(store: Store, beside: list[str], part: str) -> States:
    """The states of one part, by network. beside: the names of all that are stored."""
    stem = f"/beside/{PurePosixPath(part).stem}."
    return {
        name.rpartition(stem)[2].removesuffix(".safetensors"): state_from_bytes(store.read(name))[0]
        for name in beside
        if stem in name
    }


def _state_name(part: str, network: str) -> str:
    return f"{PurePosixPath(part).stem}.{network}.safetensors"
