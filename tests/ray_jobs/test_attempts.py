"""A row that kills its worker is found and given up with a reason; the rest of its part is made as ever."""

import os
import signal
import sys

import pyarrow as pa
import pytest

from ray_jobs.attempts import KILLS_ITS_WORKER, MOST_DEATHS, MOST_PART_DEATHS, MOST_ROW_DEATHS, Attempts
from ray_jobs.config import job_settings
from ray_jobs.errors import AlreadyStored
from ray_jobs.generate_images import GenerateWorker
from ray_jobs.generation_plan import plan_parts
from ray_jobs.job import JobContext, plan_job
from ray_jobs.part_runner import run_parts
from ray_jobs.parts import read_rows
from ray_jobs.progress import Progress
from ray_jobs.store import Store

POISON = "row 5"
ROWS = pa.schema([pa.field("key", pa.string()), pa.field("reason", pa.string())])


def die():
    os.kill(os.getpid(), signal.SIGKILL)


class Fragile:
    """Two parts of four rows; one row ends the process, as a crash in a library would."""

    def __init__(self, setup):
        self.rows = {"a": [f"row {n}" for n in range(4)], "b": [f"row {n}" for n in range(4, 8)]}

    def __call__(self, part):
        return self.make(part, lambda place: True)

    def make(self, part, may_begin):
        made = []
        for place, key in enumerate(self.rows[part]):
            gives_up = not may_begin(place)
            if key == POISON and not gives_up:
                die()
            made.append({"key": key, "reason": f"failed: {KILLS_ITS_WORKER}" if gives_up else None})
        return pa.Table.from_pylist(made, schema=ROWS)


class Careful(Fragile):
    def row_by_row(self, part, may_begin):
        return self.make(part, may_begin)


@pytest.fixture(scope="module")
def by_value():
    """Ray's workers cannot import this file: its classes travel as code."""
    from ray import cloudpickle

    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    yield
    cloudpickle.unregister_pickle_by_value(sys.modules[__name__])


def context_in(store):
    runtime = {"workers": 1, "cpus_per_worker": 0.5}
    plan = plan_job("register_prompts", job_settings("register_prompts", "sample", {"runtime": runtime}), {}, store)
    return JobContext(plan, store, plan.config, Progress("register_prompts"))


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.reliability(7)
def test_a_row_that_kills_its_worker_is_given_up_and_the_others_are_kept(local_ray, by_value, tmp_path):
    store = Store(str(tmp_path / "store"))
    context = context_in(store)
    summaries = run_parts(context, ["a", "b"], Careful)
    manifest = context.commit_parts(summaries)
    rows = {row["key"]: row["reason"] for row in read_rows(store, manifest).to_pylist()}
    assert rows == {f"row {n}": None for n in range(8)} | {POISON: f"failed: {KILLS_ITS_WORKER}"}
    assert manifest.counts == {"in": 8, "kept": 7, f"failed: {KILLS_ITS_WORKER}": 1}
    tries = store.names(f"{context.prefix}/begun/b")
    assert len(tries) == MOST_PART_DEATHS + MOST_ROW_DEATHS + 1 and len(store.names(f"{context.prefix}/begun/a")) == 1


@pytest.mark.ray
@pytest.mark.slow
def test_a_job_that_cannot_go_row_by_row_fails_instead_of_trying_for_ever(local_ray, by_value, tmp_path, monkeypatch):
    store = Store(str(tmp_path / "store"))
    context = context_in(store)
    attempts = Attempts(store, context.prefix)
    monkeypatch.setattr("ray_jobs.part_runner.Attempts", lambda *place: attempts)
    for _ in range(MOST_DEATHS - 1):  # as if it had died so often already
        attempts.begin("b")
    with pytest.raises(Exception, match=r"b: its worker died 10 times in this part .*Fragile cannot do it row by row"):
        run_parts(context, ["b"], Fragile)


def test_deaths_count_within_one_run_of_the_driver(tmp_path):
    store = Store(str(tmp_path / "store"))
    first, second = Attempts(store, "prompts/k"), Attempts(store, "prompts/k")
    assert [first.begin("p"), first.begin("p"), second.begin("p"), first.begin("q")] == [0, 1, 0, 0]
    with pytest.raises(AlreadyStored):
        store.create(store.names("prompts/k/begun/p")[0], b"")


def test_only_the_row_that_was_begun_last_in_a_life_is_to_blame(tmp_path):
    attempts = Attempts(Store(str(tmp_path / "store")), "prompts/k")
    for life in (3, 4):
        may_begin = attempts.guard_rows("p", life)
        assert [may_begin(row) for row in (0, 1, 2)] == [True, True, True], "dies in row 2"
    may_begin = attempts.guard_rows("p", 5)
    assert [may_begin(row) for row in (0, 1, 2, 3)] == [True, True, False, True], "dies in row 3"
    assert [attempts.guard_rows("p", 6)(row) for row in (1, 2, 3)] == [True, False, True]
    assert Attempts(attempts.store, "prompts/k").guard_rows("p", 3)(2), "another run of the driver"


def test_pictures_made_row_by_row_are_those_of_the_whole_part(job):
    plan = job.plan()
    parts = plan_parts(job.store, plan.inputs["prompts"], plan.config)
    manifest = job.generate()
    from ray_jobs.part_runner import WorkerSetup

    worker = GenerateWorker(WorkerSetup(job.store, plan.config, dict(plan.inputs), manifest.prefix))
    given_up = []
    for part in parts:
        content = worker.row_by_row(part.name, lambda place: place != 1)
        for expected, row in zip(worker(part.name).table.to_pylist(), content.table.to_pylist(), strict=True):
            if row["reason"] == f"failed: {KILLS_ITS_WORKER}":
                given_up.append(row["key"])
                assert row["image"] is None
            else:
                assert row == expected
    assert 1 <= len(given_up) <= len(parts)
