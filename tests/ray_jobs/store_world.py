"""A store whose clock a test turns, and jobs in steps: what the tests of `pangu gc` share."""

import os
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from unittest import mock

import pyarrow as pa

from ray_jobs.artifacts import JOBS
from ray_jobs.claims import claim_version
from ray_jobs.job import JobContext, JobPlan, find_finished
from ray_jobs.job_configs import CONFIGS
from ray_jobs.kill_points import watched
from ray_jobs.manifest import InputVersion, Manifest, key_of
from ray_jobs.parts import not_digested, part_name, read_rows, write_part
from ray_jobs.progress import Progress
from ray_jobs.retention import Retention
from ray_jobs.row_digest import RowDigest
from ray_jobs.store import Store
from ray_jobs.versions import Versions

LATER = "2999-01-01"  # from here everything is old, also on S3, whose clock no test turns
ONE = Retention(keep=1, keep_days=1)

MAKERS = {"url_list": "register_url_list", "images": "download_images", "training_set": "build_training_set"}
TAKES = {"url_list": (), "images": ("url_list",), "training_set": ("images",)}
NUM_PARTS = 2


class Died(BaseException):
    """The process ends at a kill point, with nothing tidied up."""


class Clock:
    """The time of a test: read by everything that writes a time into the store, and by the files' own times."""

    def __init__(self):
        self.at = datetime(2026, 1, 1, tzinfo=UTC)

    def now(self):
        return self.at.isoformat(timespec="seconds")

    def tick(self, hours):
        self.at += timedelta(hours=hours)

    def before(self, hours):
        return (self.at - timedelta(hours=hours)).isoformat()

    @contextmanager
    def ruling(self):
        """Let the jobs' code read this clock; what is put survives a kill, not a power cut."""
        with ExitStack() as stack:
            for module in ("claims", "versions", "job", "collecting"):
                stack.enter_context(mock.patch(f"ray_jobs.{module}.now", self.now))
            stack.enter_context(mock.patch("ray_jobs.store.os.fsync", lambda number: None))
            stack.enter_context(mock.patch("ray_jobs.progress.Progress.report", lambda *given, **more: None))
            yield


class ClockedStore(Store):
    """A folder whose files are as old as the clock says."""

    def __init__(self, root, clock):
        super().__init__(root)
        self.clock = clock

    def create(self, name, data):
        super().create(name, data)
        os.utime(self.path(name), (self.clock.at.timestamp(),) * 2)


class Work:
    """A job in steps: begin (a version that is there ends it), one part after the other, commit."""

    def __init__(self, store, artifact, rows, inputs=()):
        job = JOBS[MAKERS[artifact]]
        taken = dict(zip(TAKES[artifact], inputs, strict=True))
        digests = {name: manifest.digest for name, manifest in taken.items()}
        key = key_of(job.name, 1, {"rows": sorted(rows)}, digests)
        config = CONFIGS[job.name].model_construct()
        self.plan = JobPlan(job, config, taken, key)
        self.store, self.rows = store, sorted(rows)
        self.version = f"{artifact}/{key}"
        self.claim, self.summaries, self.done = None, [], None

    def retry(self):
        """The same job of a later process, which knows nothing of the first."""
        return Work(self.store, self.plan.job.gives, self.rows, tuple(self.plan.inputs.values()))

    def begin(self):
        finished = find_finished(self.plan, self.store)
        if finished:
            self.done = finished.manifest
            return self
        needs = tuple(manifest.prefix for manifest in self.plan.inputs.values())
        self.claim = claim_version(self.store, self.version, needs)
        return self

    def step(self):
        """The next part, or the commit after the last."""
        if self.done is None and len(self.summaries) < NUM_PARTS:
            index = len(self.summaries)
            table = pa.table({"key": pa.array(self.rows[index::NUM_PARTS], pa.string())})
            leave_out = not_digested(self.plan.job.gives)
            self.summaries.append(write_part(self.store, self.version, part_name(index, NUM_PARTS), table, leave_out))
        elif self.done is None:
            with mock.patch.object(JobPlan, "decided_by", lambda plan: {}):
                context = JobContext(self.plan, self.store, self.plan.config, Progress("work"), claim=self.claim)
                self.done = context.commit_parts(self.summaries)

    def run(self):
        return run_on(self.begin())


def run_on(work):
    """All steps that are left of a job that has begun."""
    while work.done is None:
        work.step()
    return work.done


@contextmanager
def at_point(point, action, times=1):
    """Do something once, when a point is reached for the so many-th time; points reached within it do not count."""
    left = [times]

    def reached(name):
        if name == point:
            left[0] -= 1
            if left[0] == 0:
                action()

    with watched(reached):
        yield


def die():
    raise Died


def assert_whole(store, manifest):
    """Every part is there and gives the digest that the manifest states."""
    rows = read_rows(store, manifest)
    assert RowDigest().add_table(rows, not_digested(manifest.artifact)).hexdigest() == manifest.digest, manifest.prefix
    return set(rows.column("key").to_pylist())


def prefixes(store):
    """artifact/key -> whether it is committed, as it stands in the folder."""
    found = {}
    for artifact in MAKERS:
        folder = Path(store.path(artifact))
        for path in folder.iterdir() if folder.is_dir() else ():
            if path.name != "log":
                found[f"{artifact}/{path.name}"] = (path / "manifest.json").is_file()
    return found


def commit(store, artifact, key, *, inputs=(), facts=None, text="a", folder="parts"):
    """A version of one part; its manifest."""
    table = pa.table({"key": [text]})
    made = write_part(store, f"{artifact}/{key}", "p.parquet", table, ())
    manifest = Manifest(
        artifact=artifact,
        key=key,
        digest=RowDigest().add_table(table, ()).hexdigest(),
        job="a_test",
        code_version=1,
        config={},
        inputs={name: InputVersion(key=found.key, digest=found.digest) for name, found in inputs},
        folder=folder,
        parts=(made.part,),
        facts=facts or {},
    )
    return Versions(store).commit(manifest)


def keys(store, artifact):
    """Keys of the versions that are there."""
    names = store.names(artifact)
    return {name.split("/")[1] for name in names if name.endswith("/manifest.json")}
