"""Processes that are killed, and the quick job that most of them run: what the tests of crashes share.

Run as a script, this file is the process that gets killed: ``crashing.py rows|folder|generate STORE``.
"""

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pyarrow as pa

from ray_jobs.artifacts import JOBS
from ray_jobs.config import job_settings
from ray_jobs.generated_rows import GENERATED
from ray_jobs.job import JobContext, JobPlan, find_finished, plan_job, run_job
from ray_jobs.job_configs import CONFIGS
from ray_jobs.part_runner import run_parts
from ray_jobs.parts import read_part, read_rows
from ray_jobs.progress import Progress
from ray_jobs.store import Store
from ray_jobs.versions import Versions

WORKERS = 2
NUM_PROMPTS = 40
PART_S = 0.15  # long enough to be killed in
SETTINGS = {"steps": 1, "batch_size": 4, "images_per_part": 4, "runtime": {"workers": WORKERS, "cpus_per_worker": 0.5}}


class NamedPixels:
    """A worker as quick as a worker can be: every row is decided by its key, every part it begins is written down."""

    def __init__(self, setup):
        self.store, self.prompts = setup.store, setup.inputs["prompts"]
        self.journal = Path(setup.store.root).with_name("journal")

    def __call__(self, part):
        with self.journal.open("a") as lines:
            lines.write(f"{os.getpid()} {part}\n")
        time.sleep(PART_S)
        rows = []
        for prompt in read_part(self.store, self.prompts, part).to_pylist():
            key = f"{prompt['prompt_id']}/0"
            data = hashlib.sha256(key.encode()).digest()
            rows.append(
                dict.fromkeys(GENERATED.names)
                | {name: prompt[name] for name in ("prompt_id", "prompt", "reason")}
                | {"key": key, "image": {"bytes": data, "path": key}, "image_sha256": data.hex()}
            )
        return pa.Table.from_pylist(rows, schema=GENERATED)


def plan_generation(store):
    return plan_job("generate_images", job_settings("generate_images", "sample", SETTINGS), {}, store)


def commit_rows(store):
    """The generation job's plan, parts and commit around a quick worker."""
    plan = plan_generation(store)
    context = JobContext(plan, store, plan.config, Progress("generate_images"))
    names = [part.name for part in plan.inputs["prompts"].parts]
    return context.commit_parts(run_parts(context, names, NamedPixels))


def finish_rows(store):
    """What the next run does: take the committed version, or do what is missing."""
    finished = find_finished(plan_generation(store), store)
    return finished.manifest if finished else commit_rows(store)


def commit_folder(store, folder, key="0" * 24):
    """Commit a folder as a version of ``experts``."""
    plan = JobPlan(JOBS["publish_experts"], CONFIGS["publish_experts"](), {}, key)
    return JobContext(plan, store, plan.config, Progress("publish_experts")).commit_folder(folder)


def die_or_finish(mode, root):
    """What the killed process does."""
    store = Store(root)
    if mode == "folder":
        commit_folder(store, Path(root).with_name("folder"), key="1" * 24)
        return
    address = os.environ.get("CRASH_RAY_ADDRESS")
    if address:  # workers take their environment from the job's, not from this process
        import ray

        point = os.environ.get("PANGU_KILL_POINT", "")
        ray.init(address, log_to_driver=False, runtime_env={"env_vars": {"PANGU_KILL_POINT": point}})
    commit_rows(store) if mode == "rows" else run_job(plan_generation(store), store)


def start(mode, store, **environment):
    """The process to be killed, leader of a group of its own."""
    command = [sys.executable, str(Path(__file__).resolve()), mode, store.uri]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    return subprocess.Popen(command, env={**os.environ, **environment}, start_new_session=True, **pipes)


def run_to_end(mode, store, **environment):
    """Return code and output of a process that dies by its own hand or finishes."""
    process = start(mode, store, **environment)
    output, _ = process.communicate(timeout=200)
    return process.returncode, output.decode(errors="replace")


def copy_of(store, folder):
    copied = Store(str(folder))
    for name in store.names(""):
        copied.create(name, store.read(name))
    return copied


def assert_whole(store, manifest, digest):
    """Every prompt exactly once, in one listed version, with the digest of an undisturbed run."""
    assert manifest.digest == digest
    keys = Counter(read_rows(store, manifest, ["key"]).column("key").to_pylist())
    prompts = read_rows(store, Versions(store).latest("prompts"), ["prompt_id"]).column("prompt_id").to_pylist()
    assert keys == Counter(f"{prompt}/0" for prompt in prompts)
    assert len(Versions(store).history("generated_images")) == 1
    assert Versions(store).latest("generated_images") == manifest


def parts_of(store):
    return [name for name in store.names("generated_images") if "/parts/" in name]


def begun(store):
    """(process, part) of every part a quick worker began."""
    journal = Path(store.root).with_name("journal")
    return [tuple(line.split()) for line in journal.read_text().splitlines()] if journal.exists() else []


def wait_for(condition, process=None, most_s=150.0):
    deadline = time.monotonic() + most_s
    while not condition():
        assert process is None or process.poll() is None, process.communicate()[0].decode(errors="replace")[-3000:]
        assert time.monotonic() < deadline, "the killed process got nowhere"
        time.sleep(0.02)


def kill_group(process):
    """SIGKILL for the driver and for every Ray process it started, at the same moment."""
    import psutil

    members = [process.pid, *(child.pid for child in psutil.Process(process.pid).children(recursive=True))]
    for pid in members:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.communicate(timeout=30)


if __name__ == "__main__":
    die_or_finish(sys.argv[1], sys.argv[2])
