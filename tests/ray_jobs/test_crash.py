"""Processes killed at every commit step and at any moment: nothing is lost, nothing is there twice, the digest is the same.

Run as a script, this file is the process that gets killed: ``test_crash.py rows|folder|generate STORE``.
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
import pytest

from ray_jobs.artifacts import JOBS
from ray_jobs.config import job_settings
from ray_jobs.generated_rows import GENERATED
from ray_jobs.job import JobContext, JobPlan, find_finished, plan_job, run_job
from ray_jobs.job_configs import CONFIGS
from ray_jobs.kill_points import KILL_POINTS
from ray_jobs.part_runner import run_parts
from ray_jobs.parts import read_part, read_rows
from ray_jobs.progress import Progress
from ray_jobs.store import Store
from ray_jobs.versions import Versions

pytestmark = pytest.mark.ray

DRIVER_POINTS = tuple(p for p in KILL_POINTS if p.startswith(("plan.", "manifest.", "log.")))
WORKER_POINTS = tuple(p for p in KILL_POINTS if p.startswith("part."))
FOLDER_POINTS = tuple(p for p in KILL_POINTS if p.startswith("files."))
ROUND_POINTS = tuple(p for p in KILL_POINTS if p.startswith("model."))  # exercised by test_raft_crash
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


@pytest.fixture(scope="module", autouse=True)
def travel_by_value():
    """Ray's workers cannot import this file: its worker class travels as code."""
    from ray import cloudpickle

    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    yield
    cloudpickle.unregister_pickle_by_value(sys.modules[__name__])


@pytest.fixture(scope="module")
def ray_address(local_ray):
    import ray

    return ray.get_runtime_context().gcs_address


@pytest.fixture(scope="module")
def prompts_store(run_in, tmp_path_factory):
    """A store with a small folder as experts and prompts in eight parts."""
    folder = tmp_path_factory.mktemp("small")
    (folder / "card.json").write_text("{}")
    store = Store(str(tmp_path_factory.mktemp("prompts") / "store"))
    commit_folder(store, folder)
    parts = run_in(store, "register_prompts", num_prompts=NUM_PROMPTS, rows_per_part=5).manifest.parts
    assert len(parts) == 8
    return store


@pytest.fixture
def store_of_rows(prompts_store, tmp_path):
    return copy_of(prompts_store, tmp_path / "store")


def copy_of(store, folder):
    copied = Store(str(folder))
    for name in store.names(""):
        copied.create(name, store.read(name))
    return copied


@pytest.fixture(scope="module")
def undisturbed(prompts_store, local_ray, tmp_path_factory):
    """The digest of a run that nobody disturbs."""
    return commit_rows(copy_of(prompts_store, tmp_path_factory.mktemp("undisturbed") / "store")).digest


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


@pytest.mark.reliability(1)
def test_every_kill_point_is_exercised():
    assert sorted(DRIVER_POINTS + WORKER_POINTS + FOLDER_POINTS + ROUND_POINTS) == sorted(KILL_POINTS)


@pytest.mark.reliability(1)
def test_every_kill_point_stands_in_the_code_and_every_create_has_one_around_it():
    source = Path(sys.modules[Store.__module__].__file__).parent
    texts = {path.stem: path.read_text(encoding="utf-8") for path in source.glob("*.py")}
    for point in KILL_POINTS:
        assert sum(f'kill_point("{point}")' in text for text in texts.values()) == 1, point
    bare = {name for name, text in texts.items() if "store.create(" in text and "kill_point(" not in text}
    assert bare == {"checkpoint_mirror"}, "checkpoints may be torn: whoever loads them checks; nothing else may be"


@pytest.mark.reliability(1)
@pytest.mark.parametrize("point", DRIVER_POINTS)
def test_a_driver_killed_at_a_commit_step_is_made_good(point, store_of_rows, ray_address, undisturbed):
    code, output = run_to_end("rows", store_of_rows, PANGU_KILL_POINT=point, CRASH_RAY_ADDRESS=ray_address)
    assert code == -signal.SIGKILL, output
    before = len(begun(store_of_rows))
    manifest = finish_rows(store_of_rows)
    assert_whole(store_of_rows, manifest, undisturbed)
    assert len(begun(store_of_rows)) == 8 and before == (0 if point.startswith("plan.") else 8), (
        "no part was done twice"
    )


@pytest.mark.reliability(1)
@pytest.mark.reliability(2)
@pytest.mark.parametrize("point", WORKER_POINTS)
def test_workers_killed_around_every_second_part_lose_at_most_that_part(point, store_of_rows, ray_address, undisturbed):
    code, output = run_to_end("rows", store_of_rows, PANGU_KILL_POINT=f"{point}:2", CRASH_RAY_ADDRESS=ray_address)
    assert code == 0, output
    assert_whole(store_of_rows, Versions(store_of_rows).latest("generated_images"), undisturbed)
    starts = begun(store_of_rows)
    kills = len({process for process, _ in starts}) - WORKERS
    assert kills > 0, "no worker was killed"
    assert len(starts) - 8 <= kills + WORKERS


@pytest.mark.reliability(2)
def test_a_driver_killed_half_way_costs_at_most_one_part_a_worker(store_of_rows, ray_address, undisturbed):
    import psutil

    process = start("rows", store_of_rows, CRASH_RAY_ADDRESS=ray_address)
    wait_for(lambda: len(parts_of(store_of_rows)) >= 2, process)
    kill_group(process)
    assert Versions(store_of_rows).latest("generated_images") is None
    workers = [int(pid) for pid, _ in begun(store_of_rows)]
    wait_for(lambda: not any(psutil.pid_exists(pid) for pid in workers))
    assert len(parts_of(store_of_rows)) < 8, "killed too late to show anything"
    assert_whole(store_of_rows, finish_rows(store_of_rows), undisturbed)
    assert len(begun(store_of_rows)) - 8 <= WORKERS


@pytest.mark.reliability(1)
@pytest.mark.parametrize("point", FOLDER_POINTS)
def test_a_folder_killed_between_two_files_is_stored_anew(point, tmp_path):
    folder, store = tmp_path / "folder", Store(str(tmp_path / "store"))
    folder.mkdir()
    for name in "abcd":
        (folder / name).write_text(name)
    code, output = run_to_end("folder", store, PANGU_KILL_POINT=f"{point}:3")
    assert code == -signal.SIGKILL, output
    assert Versions(store).latest("experts") is None
    torn = store.names("experts")
    assert len(torn) == (2 if point.endswith("before_create") else 3)
    manifest = commit_folder(store, folder, key="1" * 24)
    assert manifest.digest == commit_folder(Store(str(tmp_path / "other")), folder).digest
    assert len(manifest.parts) == 4
    assert not {f"{manifest.prefix}/{manifest.folder}/{part.name}" for part in manifest.parts} & set(torn)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.reliability(1)
@pytest.mark.reliability(2)
def test_a_generation_killed_with_its_whole_ray_three_times_gives_the_same_pixels(run_in, tiny_base, tmp_path):
    store = Store(str(tmp_path / "killed" / "store"))
    commit_folder(store, tiny_base)
    run_in(store, "register_prompts", num_prompts=NUM_PROMPTS, rows_per_part=3)
    calm = copy_of(store, tmp_path / "calm" / "store")
    for _ in range(3):
        done = len(parts_of(store))
        process = start("generate", store)
        wait_for(lambda done=done: len(parts_of(store)) > done, process)
        kill_group(process)
    survived = parts_of(store)
    assert 3 <= len(survived) < 16, "each life got somewhere and none finished"
    stored = {name: Path(store.path(name)).stat().st_mtime_ns for name in survived}
    finished = run_in(store, "generate_images", **SETTINGS).manifest
    assert {name: Path(store.path(name)).stat().st_mtime_ns for name in survived} == stored, "a stored part was redone"
    expected = run_in(calm, "generate_images", **SETTINGS).manifest
    assert expected.counts["kept"] == NUM_PROMPTS
    assert_whole(store, finished, expected.digest)


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
