"""Runs a worker class over planned parts with Ray Data: Ray places and retries parts, content decides what is in them.

A worker is a plain class: ``__init__(setup)`` loads its models, ``__call__(part_name) -> pyarrow.Table`` does one part.
A driver or worker that dies loses the parts that were not yet stored, nothing else: the next run does only those. A part
that goes on killing its worker is done row by row, and the row that does it is given up (`attempts`).
"""

import json
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import pyarrow as pa

from ray_jobs.attempts import MOST_DEATHS, MOST_PART_DEATHS, Attempts
from ray_jobs.errors import AlreadyStored, JobError
from ray_jobs.job import JobContext
from ray_jobs.job_configs import JobConfig, Runtime
from ray_jobs.kill_points import kill_point
from ray_jobs.manifest import Manifest
from ray_jobs.parts import PartContent, PartSummary, not_digested, read_summary, write_part
from ray_jobs.store import Store


@dataclass(frozen=True)
class WorkerSetup:
    """What a worker is built from; it travels to the worker process."""

    store: Store
    config: JobConfig
    inputs: dict[str, Manifest]
    prefix: str = ""
    """Where the new version's files go in the store."""


class PartWorker(Protocol):
    """One part in, its rows out."""

    def __call__(self, part: str) -> pa.Table | PartContent:
        """All rows of the named part: kept ones, and dropped ones with their reason; files beside them if any."""
        ...


def run_parts(
    context: JobContext[Any],
    parts: Sequence[str],
    worker: type[Any],
    unit: str = "parts",
    details: Mapping[str, Any] | None = None,
    prefix: str | None = None,
) -> list[PartSummary]:
    """Do every part that is not stored yet and give the summaries of all, in part order.

    details: stored with the plan, for workers that must know more of a part than its name (see `read_plan`).
    prefix: where plan and parts stand, for jobs of several phases; the version's own folder where None.
    """
    prefix = prefix or context.prefix
    _write_plan(context, prefix, parts, details)
    stored = {name.rsplit("/", 1)[1] for name in context.store.names(f"{prefix}/parts")}
    missing = [part for part in parts if part not in stored]
    rows_done = 0
    summaries = [read_summary(context.store, prefix, part) for part in parts if part in stored]
    context.progress.report(len(summaries), len(parts), unit)
    if missing:
        for line in _schedule(context, missing, worker, prefix):
            context.device_seconds += line["seconds"]
            summaries.append(PartSummary.from_json(line["summary"]))
            rows_done += summaries[-1].part.rows
            context.progress.report(len(summaries), len(parts), unit, rows=rows_done)
    return sorted(summaries, key=lambda summary: summary.part.name)


def read_plan(store: Store, prefix: str) -> dict[str, Any] | None:
    """The stored plan of a version (``job``, ``parts`` and, if there are any, ``details``), or None."""
    try:
        found: dict[str, Any] = json.loads(store.read(f"{prefix}/plan.json"))
    except FileNotFoundError:
        return None
    return found


def _write_plan(context: JobContext[Any], prefix: str, parts: Sequence[str], details: Mapping[str, Any] | None) -> None:
    """Fix the plan before any work; a resumed run must find the same one."""
    name = f"{prefix}/plan.json"
    fields = {"job": context.plan.job.name, "parts": list(parts)} | ({"details": details} if details else {})
    plan = json.dumps(fields).encode()
    kill_point("plan.before_create")
    try:
        context.store.create(name, plan)
    except AlreadyStored:
        if context.store.read(name) != plan:
            raise JobError(f"{context.plan.job.name}: {name} holds another plan for the same key") from None
    kill_point("plan.after_create")


def _schedule(context: JobContext[Any], missing: list[str], worker: type[Any], prefix: str) -> Iterator[dict[str, Any]]:
    setup = WorkerSetup(context.store, context.config, dict(context.plan.inputs), prefix)
    attempts = Attempts(context.store, prefix)
    dataset = _over_parts(context, missing, _PartTask, (setup, worker, attempts, context.artifact))
    for row in dataset.iter_rows():
        yield json.loads(row["line"])


def map_parts(context: JobContext[Any], parts: Sequence[str], worker: type[Any]) -> Iterator[pa.Table]:
    """A worker's table for every part, as they come; nothing is stored. For small tables, such as features."""
    setup = WorkerSetup(context.store, context.config, dict(context.plan.inputs), context.prefix)
    dataset = _over_parts(context, parts, _PassingTask, (setup, worker))
    done = 0
    for batch in dataset.iter_batches(batch_size=1):
        for data in batch["table"]:
            done += 1
            context.progress.report(done, len(parts), "parts")
            yield pa.ipc.open_stream(data).read_all()


def _over_parts(context: JobContext[Any], parts: Sequence[str], task: type[Any], arguments: tuple[Any, ...]) -> Any:  # noqa: ANN401
    import ray
    from ray.data import ActorPoolStrategy

    runtime = context.config.runtime
    ensure_ray(runtime)
    quiet_data_progress()
    return ray.data.from_items([{"part": part} for part in parts], override_num_blocks=len(parts)).map_batches(
        task,
        fn_constructor_args=arguments,
        batch_size=1,
        compute=ActorPoolStrategy(size=min(runtime.workers, len(parts))),
        **ray_resources(runtime),
    )


def ray_resources(runtime: Runtime) -> dict[str, Any]:
    """What Ray reserves for one worker."""
    wanted: dict[str, Any] = {"num_cpus": runtime.cpus_per_worker}
    if runtime.device == "cuda":
        wanted["num_gpus"] = 1
    elif runtime.device == "npu":
        wanted["resources"] = {"NPU": 1}
    return wanted


def ensure_ray(runtime: Runtime, *, log_to_driver: bool = False) -> None:
    """Join the cluster this process was started in, or start a small local one."""
    import ray

    if ray.is_initialized():
        return
    if os.environ.get("RAY_ADDRESS"):
        ray.init(log_to_driver=log_to_driver)
    else:
        ray.init(
            "local", num_cpus=max(4, runtime.workers + 2), include_dashboard=log_to_driver, log_to_driver=log_to_driver
        )


def quiet_data_progress() -> None:
    """Our own progress lines stand in the log; Ray Data's bars do not."""
    from ray.data import DataContext

    data_context = DataContext.get_current()
    data_context.enable_progress_bars = False
    data_context.print_on_execution_start = False


def limit_threads(runtime: Runtime) -> None:
    """Hold torch, where the worker has loaded it, to its share of the machine: Ray's CPUs are only numbers."""
    if "torch" in sys.modules:
        import torch

        torch.set_num_threads(runtime.threads)


class _PartTask:
    """The one place where Ray Data meets a worker: computes a part, stores it create-only, returns one short line."""

    def __init__(self, setup: WorkerSetup, worker: type[Any], attempts: Attempts, artifact: str) -> None:
        self.store, self.attempts = setup.store, attempts
        self.leave_out = not_digested(artifact)
        self.worker: PartWorker = worker(setup)
        limit_threads(setup.config.runtime)

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[str]]:
        lines = []
        for part in map(str, batch["part"]):
            started = time.monotonic()
            summary = self._do(part)
            line = {"part": part, "summary": summary.to_json(), "seconds": time.monotonic() - started}
            lines.append(json.dumps(line))
        return {"line": lines}

    def _do(self, part: str) -> PartSummary:
        prefix, deaths = self.attempts.prefix, self.attempts.begin(part)
        if deaths and self.store.exists(f"{prefix}/parts/{part}"):
            return read_summary(self.store, prefix, part)
        careful = getattr(self.worker, "row_by_row", None)
        if careful is not None and deaths >= MOST_PART_DEATHS:
            made = careful(part, self.attempts.guard_rows(part, deaths))
        elif deaths < MOST_DEATHS:
            made = self.worker(part)
        else:
            raise JobError(
                f"{part}: its worker died {deaths} times in this part (memory, or a crash in a library), and "
                f"{type(self.worker).__name__} cannot do it row by row"
            )
        table, beside = (made.table, made.beside) if isinstance(made, PartContent) else (made, {})
        return write_part(self.store, prefix, part, table, self.leave_out, beside)


class _PassingTask:
    """Computes a part and passes its rows to the driver as one Arrow stream."""

    def __init__(self, setup: WorkerSetup, worker: type[Any]) -> None:
        self.worker: PartWorker = worker(setup)
        limit_threads(setup.config.runtime)

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[bytes]]:
        streams = []
        for part in batch["part"]:
            table = self.worker(str(part))
            assert isinstance(table, pa.Table)
            sink = pa.BufferOutputStream()
            with pa.ipc.new_stream(sink, table.schema) as stream:
                stream.write_table(table)
            streams.append(sink.getvalue().to_pybytes())
        return {"table": streams}
