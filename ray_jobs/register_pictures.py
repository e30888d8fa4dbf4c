"""register_pictures: what another model made of a prompt list, as rows like our own, so that all stand side by side.

A picture is found in the list's column of that model, or in a folder under its prompt's id. It is stored as it was given;
a prompt without a usable picture keeps its row and says why.
"""

import hashlib
import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from curation.decode import decode_rgb
from curation.errors import PictureError
from pangu.provenance import encode_picture
from ray_jobs.errors import JobError
from ray_jobs.generated_rows import GENERATED
from ray_jobs.job import JobContext
from ray_jobs.job_configs import RegisterPictures
from ray_jobs.manifest import Manifest
from ray_jobs.parts import PartSummary, not_digested, read_part, read_summary, write_part

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
_MAGIC = {b"\x89PNG": "png", b"\xff\xd8\xff": "jpg", b"RIFF": "webp"}
_CARRIED = ("prompt_id", "seed", "prompt", "negative", "language", "style", "category", "strata", "attributes")
AS_GIVEN = "as given"


def run(context: JobContext[RegisterPictures]) -> Manifest:
    """A part of pictures for every part of prompts."""
    config, prompts = context.config, context.input("prompts")
    shelf = Shelf(config.model, shelf_folder(config, prompts))
    stored = {name.rsplit("/", 1)[1] for name in context.store.names(f"{context.prefix}/parts")}
    summaries = []
    for part in prompts.parts:
        if part.name in stored:
            summaries.append(read_summary(context.store, context.prefix, part.name))
            continue
        rows = [shelf.row_of(prompt) for prompt in read_part(context.store, prompts, part.name).to_pylist()]
        table = pa.Table.from_pylist(rows, schema=GENERATED)
        summaries.append(write_part(context.store, context.prefix, part.name, table, not_digested("generated_images")))
        context.progress.report(len(summaries), len(prompts.parts), "parts")
    _check_share(summaries, config)
    mark = {"metadata": AS_GIVEN, "watermark": AS_GIVEN, "content_credentials": AS_GIVEN}
    return context.commit_parts(summaries, facts={"container": "parquet", "mark": mark, "experts": config.model})


def shelf_folder(config: RegisterPictures, prompts: Manifest) -> Path:
    """The folder that the config names, or the one that the prompt list stands in. ValueError where there is none."""
    source = prompts.facts.get("source")
    folder = Path(config.folder) if config.folder else Path(source).parent if source else None
    if folder is None or not folder.is_dir():
        raise ValueError(
            f"register_pictures.folder = {config.folder!r}: not a folder; accepted is one with the pictures"
        )
    return folder.resolve()


def _check_share(summaries: list[PartSummary], config: RegisterPictures) -> None:
    """JobError where too few prompts have a picture: a misspelt column must not become a version."""
    counts: Counter[str] = Counter()
    for summary in summaries:
        counts.update(summary.counts)
    total, kept = counts.pop("in"), counts.pop("kept")
    if total - kept > config.max_failed_share * total:
        raise JobError(
            f"register_pictures: {total - kept} of {total} prompts have no picture by {config.model!r}, which is above "
            f"max_failed_share = {config.max_failed_share}: {json.dumps(dict(counts.most_common(3)))}"
        )


@dataclass(frozen=True)
class Shelf:
    """The pictures of one model under one folder."""

    model: str
    folder: Path

    def row_of(self, prompt: dict[str, Any]) -> dict[str, Any]:
        """The row of a prompt with its picture, or with the reason why there is none."""
        row = dict.fromkeys(GENERATED.names) | {name: prompt.get(name) for name in _CARRIED}
        row |= {"key": f"{prompt['prompt_id']}/0", "sample_index": 0, "experts": self.model}
        path, reason = self.find(prompt)
        if path is None or prompt["reason"]:
            return row | {"reason": prompt["reason"] or reason}
        data = path.read_bytes()
        try:
            pixels = np.asarray(decode_rgb(data))
        except PictureError as error:
            return row | {"reason": error.reason.value}
        suffix = next((name for magic, name in _MAGIC.items() if data.startswith(magic)), None)
        if suffix is None:
            data, suffix = encode_picture(decode_rgb(data), "png"), "png"
        return row | {
            "image": {"bytes": data, "path": f"{hashlib.sha256(row['key'].encode()).hexdigest()[:24]}.{suffix}"},
            "height": pixels.shape[0],
            "width": pixels.shape[1],
            "image_sha256": hashlib.sha256(
                f"{pixels.shape[0]}x{pixels.shape[1]}:".encode() + pixels.tobytes()
            ).hexdigest(),
            "encoded_sha256": hashlib.sha256(data).hexdigest(),
        }

    def find(self, prompt: dict[str, Any]) -> tuple[Path | None, str]:
        """The file of a prompt, or None and why; nothing outside the folder is looked at."""
        named = json.loads(prompt["models"]) if prompt["models"] else {}
        given = named.get(self.model) if isinstance(named, dict) else None
        tried = [str(given)] if given else [f"{prompt['prompt_id']}{suffix}" for suffix in SUFFIXES]
        for name in tried:
            if "\0" in name or len(name) > 1000:
                return None, "bad_picture_path"
            path = (self.folder / name).resolve()
            if not path.is_relative_to(self.folder):
                return None, "picture_outside_folder"
            if path.is_file():
                return path, ""
        return None, "no_picture"
