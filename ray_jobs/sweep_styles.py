"""sweep_styles: neutral prompts at every scale of a style, with equal seeds, read by the scorer's heads and its CLIP.

A row is one picture: what was asked, what was read, and for the first prompts the picture itself. Scale 0 asks for no
style, so it is made once and begins every style's curve. The figures stand in the version's facts.
"""

import hashlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from curation.aesthetic_scorer import AestheticScorer
from curation.cartoon_classifier import CartoonClassifier
from curation.clip_scorer import ClipScorer, resolve_clip_folder
from curation.decode import decode_rgb
from pangu.evaluation.clip_score import clip_scores
from ray_jobs.device import torch_device
from ray_jobs.errors import JobError
from ray_jobs.evaluation_networks import CONDITIONED, identity_of, uses_of_scorer
from ray_jobs.generation_worker import ImageMaker
from ray_jobs.job import JobContext
from ray_jobs.job_configs import SweepStyles, model_folder
from ray_jobs.lineage import ancestors
from ray_jobs.manifest import Manifest
from ray_jobs.part_runner import WorkerSetup, read_plan, run_parts
from ray_jobs.parts import read_rows
from ray_jobs.store import Store
from ray_jobs.sweep_figures import sweep_facts
from ray_jobs.versions import Versions

SWEPT = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False),
        pa.field("style", pa.string()),
        pa.field("scale", pa.float64()),
        pa.field("prompt_id", pa.string()),
        pa.field("prompt", pa.string()),
        pa.field("language", pa.string()),
        pa.field("seed", pa.int64()),
        pa.field("place", pa.int32()),
        pa.field("clip_score", pa.float64()),
        pa.field("aesthetic", pa.float64()),
        pa.field("cartoon_probability", pa.float64()),
        pa.field("image_sha256", pa.string()),
        pa.field("image", pa.struct([pa.field("bytes", pa.binary()), pa.field("path", pa.string())])),
        pa.field("reason", pa.string()),
    ]
)
"""``style`` is null at scale 0; ``place`` is the prompt's in the sweep; a score is null where the scorer has no such head
or there is no picture. ``image`` is kept of the first places."""


def run(context: JobContext[SweepStyles]) -> Manifest:
    """One part a style, scale and batch of prompts; then the figures."""
    config = context.config
    prompts = choose_prompts(context.store, context.input("prompts"), config.num_prompts)
    if len(prompts) < 2:
        raise JobError(f"sweep_styles: {len(prompts)} usable prompts; at least 2 are needed")
    parts = plan_scales(config, len(prompts))
    summaries = run_parts(context, sorted(parts), SweepWorker, "scales", details={"parts": parts, "prompts": prompts})
    tables = [_table(context.store, context.prefix, summary.part.name) for summary in summaries]
    facts = sweep_facts(pa.concat_tables(tables).to_pylist(), config, describe_scorer(context))
    facts["experts"] = context.input("experts").key if config.model == "experts" else config.model
    return context.commit_parts(summaries, facts=facts)


def _table(store: Store, prefix: str, name: str) -> pa.Table:
    import pyarrow.parquet as pq

    columns = [name for name in SWEPT.names if name != "image"]
    return pq.read_table(io.BytesIO(store.read(f"{prefix}/parts/{name}")), columns=columns, use_threads=False)


def choose_prompts(store: Store, prompts: Manifest, num_prompts: int) -> list[dict[str, Any]]:
    """The first usable prompts in the order of their ids' hashes: the same whatever the list's order and parts."""
    rows = [row for row in read_rows(store, prompts).to_pylist() if row["reason"] is None]
    rows.sort(key=lambda row: hashlib.sha256(row["prompt_id"].encode()).digest())
    return [row | {"style": None} for row in rows[:num_prompts]]


def plan_scales(config: SweepStyles, num_prompts: int) -> dict[str, dict[str, Any]]:
    """Part name -> style, scale and places of its prompts."""
    points: list[tuple[str | None, float]] = [(None, 0.0)] if 0 in config.scales else []
    points += [(style, scale) for style in config.styles for scale in config.scales if scale]
    parts = {}
    for index, (style, scale) in enumerate(points):
        for start in range(0, num_prompts, config.batch_size):
            places = [start, min(start + config.batch_size, num_prompts)]
            parts[f"{index:03d}-{start:05d}.parquet"] = {"style": style, "scale": scale, "places": places}
    return parts


def describe_scorer(context: JobContext[SweepStyles]) -> dict[str, Any]:
    """The scorer's label, and what else it did to these pictures or to what they were learned from."""
    scorer = context.config.scorer
    experts = context.plan.inputs.get("experts")
    scores = ancestors(Versions(context.store), experts).get("scores") if experts is not None else None
    if scores is not None:
        uses = uses_of_scorer(scorer, scores)
    else:
        is_own = experts is not None and identity_of(scorer) == identity_of("sample")
        uses = (CONDITIONED,) if is_own else ()
    name = "sample-scorer" if scorer == "sample" else Path(scorer).name
    return {"name": name, "other_uses": list(uses)}


class SweepWorker:
    """Samples and reads one part: some prompts at one scale of one style."""

    def __init__(self, setup: WorkerSetup) -> None:
        """Load generator, scorer and heads once."""
        assert isinstance(setup.config, SweepStyles)
        self.config = setup.config
        stored = read_plan(setup.store, setup.prefix)
        assert stored is not None
        self.parts, self.prompts = stored["details"]["parts"], stored["details"]["prompts"]
        self.maker = ImageMaker(setup.store, self.config.generation({}), setup.inputs.get("experts"))
        folder = resolve_clip_folder(model_folder("scorer", self.config.scorer))
        self.clip = ClipScorer(folder, torch_device(self.config.runtime))
        paths = {
            name: Path(given) if given else folder / f"{name}_head.safetensors"
            for name, given in (("aesthetic", self.config.aesthetic_head), ("cartoon", self.config.cartoon_head))
        }
        there = {name: path.is_file() for name, path in paths.items()}
        fingerprint = self.clip.fingerprint
        self.aesthetic = AestheticScorer.load(paths["aesthetic"], fingerprint) if there["aesthetic"] else None
        self.cartoon = CartoonClassifier.load(paths["cartoon"], fingerprint) if there["cartoon"] else None

    def __call__(self, part: str) -> pa.Table:
        """The rows of a part, read where there is a picture."""
        planned = self.parts[part]
        style, scale = planned["style"], planned["scale"]
        self.maker.config = self.config.generation({style: scale} if style else {})
        made = [self.maker.begin_row(prompt, 0) for prompt in self.prompts[slice(*planned["places"])]]
        self.maker.fill(made)
        rows = []
        for place, row in enumerate(made, start=planned["places"][0]):
            own = {"key": f"{row['prompt_id']}/{style or ''}/{scale:g}", "style": style, "scale": scale, "place": place}
            rows.append({name: row.get(name) for name in SWEPT.names} | own)
        self._read(rows)
        for row in rows:
            if row["place"] >= self.config.num_shown:
                row["image"] = None
        return pa.Table.from_pylist(rows, schema=SWEPT)

    def _read(self, rows: list[dict[str, Any]]) -> None:
        """Write what CLIP and heads see into the rows that have a picture."""
        there = [row for row in rows if row["image"] is not None]
        if not there:
            return
        images = self.clip.embed_images([np.asarray(decode_rgb(row["image"]["bytes"])) for row in there])
        values: dict[str, NDArray[Any]] = {
            "clip_score": clip_scores(images, self.clip.embed_texts([row["prompt"] for row in there]))
        }
        if self.aesthetic is not None:
            values["aesthetic"] = self.aesthetic(images)
        if self.cartoon is not None:
            values["cartoon_probability"] = self.cartoon(images)
        for name, found in values.items():
            for row, value in zip(there, found, strict=True):
                row[name] = float(value)
