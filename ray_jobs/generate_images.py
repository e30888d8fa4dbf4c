"""generate_images: every prompt and sample index ends as a row, its picture decided by (prompt id, index, seed, model).

A picture is sampled, looked at by the filter, marked as made by a model, and only then stored. A row that fails on the way
keeps its place with a reason, and the others of its batch go on.
"""

import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import pyarrow as pa
from pydantic import TypeAdapter

from ray_jobs.attempts import KILLS_ITS_WORKER
from ray_jobs.errors import JobError
from ray_jobs.generated_rows import GENERATED
from ray_jobs.generation_estimate import check_budget, predict, took
from ray_jobs.generation_marks import make_marker, model_digest
from ray_jobs.generation_plan import PlannedPart, padding_rows, plan_parts, rows_of_part
from ray_jobs.job import JobContext
from ray_jobs.job_configs import GenerateImages
from ray_jobs.manifest import Manifest
from ray_jobs.part_runner import WorkerSetup, read_plan, run_parts
from ray_jobs.parts import PartContent, PartSummary
from ray_jobs.tar_shards import tar_name, write_shard

_PARTS = TypeAdapter(list[PlannedPart])
_FAILURES = ("failed: ", "unmarked: ")
"""How the reasons begin that are nobody's wish: the others are prompts refused and pictures blocked."""


class GenerateWorker:
    """Samples, filters and marks the rows of one planned part."""

    def __init__(self, setup: WorkerSetup) -> None:
        """Read the plan, fetch and check the model, and load it."""
        from ray_jobs.generation_worker import ImageMaker

        assert isinstance(setup.config, GenerateImages)
        self.config, self.store, self.prompts = setup.config, setup.store, setup.inputs["prompts"]
        stored = read_plan(setup.store, setup.prefix)
        assert stored is not None
        self.plan = {part.name: part for part in _PARTS.validate_python(stored["details"])}
        self.maker = ImageMaker(setup.store, setup.config, setup.inputs.get("experts"), setup.inputs.get("enhancer"))

    def __call__(self, part: str) -> PartContent:
        """All rows of a planned part."""
        rows = self._begin_rows(part)
        self.maker.enhance(rows)
        self.maker.fill(rows)
        return self._as_content(part, rows)

    def row_by_row(self, part: str, may_begin: Callable[[int], bool]) -> PartContent:
        """The same pictures, each made by itself in a padded batch; a row that may not begin has a reason instead."""
        rows = self._begin_rows(part)
        for place, row in enumerate(rows):
            if row["reason"] is None and not may_begin(place):
                row["reason"] = f"failed: {KILLS_ITS_WORKER}"
            self.maker.enhance([row])
            self.maker.fill([row])
        return self._as_content(part, rows)

    def _begin_rows(self, part: str) -> list[dict[str, Any]]:
        planned = rows_of_part(self.store, self.prompts, self.config, self.plan[part])
        return [self.maker.begin_row(prompt, index) for prompt, index in planned]

    def _as_content(self, part: str, rows: list[dict[str, Any]]) -> PartContent:
        beside = {}
        if self.config.container == "webdataset" and any(row["image"] for row in rows):
            beside[tar_name(part)] = write_shard(rows)
            for row in rows:
                if row["image"] is not None:
                    row["image"] = {"bytes": None, "path": row["image"]["path"]}
        return PartContent(pa.Table.from_pylist(rows, schema=GENERATED), beside)


def run(context: JobContext[GenerateImages]) -> Manifest:
    """Plan, check the budget, make what is missing, and store what was predicted beside what it took."""
    config, prompts = context.config, context.input("prompts")
    stored = read_plan(context.store, context.prefix)
    parts = (
        _PARTS.validate_python(stored["details"]) if stored is not None else plan_parts(context.store, prompts, config)
    )
    predicted = predict(context.plan, context.store, parts, may_probe=config.budget.needs_speed)
    check_budget(predicted, config.budget)
    mark = describe_mark(config, context.plan.inputs.get("experts"))
    context.progress.rows_are = "images"
    before = {name.rsplit("/", 1)[1] for name in context.store.names(f"{context.prefix}/parts")}
    names = [part.name for part in parts]
    details = _PARTS.dump_python(parts, mode="json")
    summaries = run_parts(context, names, GenerateWorker, details=details)
    _check_failures(summaries, config)
    groups = {part.group for part in parts if not part.group.refused}
    facts = {
        "experts": context.input("experts").key if config.model == "experts" else config.model,
        "container": config.container,
        "mark": mark,
        "output_filter": config.output_filter.model_dump(mode="json") if config.output_filter.factory else None,
        "batches": {"groups": len(groups), "padding_rows": padding_rows(parts, config.batch_size)},
        "predicted": predicted.model_dump(mode="json"),
        "took": took(context, [summary for summary in summaries if summary.part.name not in before]),
    }
    return context.commit_parts(summaries, facts=facts)


def describe_mark(config: GenerateImages, experts: Manifest | None) -> dict[str, str]:
    """What the files of this run carry. A ValueError where keys or libraries are missing, before any work."""
    return make_marker(config, model_digest(config, experts)).facts()


def _check_failures(summaries: list[PartSummary], config: GenerateImages) -> None:
    """Raise JobError when too many pictures failed: the parts stay, the version is not committed."""
    reasons: Counter[str] = Counter()
    for summary in summaries:
        reasons.update({name: number for name, number in summary.counts.items() if name != "kept"})
    total = reasons.pop("in", 0)
    failed = {name: number for name, number in reasons.items() if name.startswith(_FAILURES)}
    if sum(failed.values()) > config.max_failed_share * total:
        shown = json.dumps(dict(Counter(failed).most_common(3)), ensure_ascii=False)
        raise JobError(
            f"generate_images: {sum(failed.values())} of {total} pictures failed, which is above max_failed_share = "
            f"{config.max_failed_share}: {shown}"
        )
