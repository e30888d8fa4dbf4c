"""Training on Ray Train, killed with its whole Ray in the middle: it goes on from the store and ends bit-equal."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from ray_jobs.config import job_settings
from ray_jobs.job import plan_job
from ray_jobs.store import Store
from ray_jobs.versions import Versions

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.reliability(12), pytest.mark.reliability(13)]
STEPS, EVERY = 40, 5


def start(store, settings):
    """`pangu run train_texture` in a process group of its own."""
    command = [sys.executable, "-m", "ray_jobs.cli", "run", "train_texture", "--store", store.uri]
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    return subprocess.Popen(
        [*command, "--settings", json.dumps(settings)],
        env=environment,
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def kill_tree(process):
    import psutil

    for pid in [process.pid, *(child.pid for child in psutil.Process(process.pid).children(recursive=True))]:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.communicate(timeout=30)


@pytest.mark.timeout(900)
def test_a_killed_training_ends_with_the_same_weights_and_losses(curate, tiny_base, tmp_path):
    killed = Store(str(tmp_path / "killed"))
    curate(killed)
    shutil.copytree(tmp_path / "killed", tmp_path / "calm")
    calm = Store(str(tmp_path / "calm"))
    given = {"base": str(tiny_base), "steps": STEPS, "batch_size": 8, "checkpoint_every": EVERY}
    settings = job_settings("train_texture", "sample", given)
    prefix = f"expert_texture/{plan_job('train_texture', settings, {}, killed).key}"

    process = start(killed, settings)
    deadline = time.monotonic() + 240
    while not killed.names(f"{prefix}/checkpoints/step-{2 * EVERY:08d}"):
        assert process.poll() is None, process.communicate()[0].decode(errors="replace")[-3000:]
        assert time.monotonic() < deadline, "no checkpoint came"
        time.sleep(0.02)
    kill_tree(process)
    assert Versions(killed).latest("expert_texture") is None, "it was killed too late to prove anything"
    steps = sorted({Path(name).parts[3] for name in killed.names(f"{prefix}/checkpoints")})
    assert steps and steps[-1] < f"step-{STEPS:08d}"

    found, first_step = {}, {}
    for name, store in (("killed", killed), ("calm", calm)):
        output, _ = (running := start(store, settings)).communicate(timeout=400)
        assert running.returncode == 0, output.decode(errors="replace")[-3000:]
        found[name] = Versions(store).latest("expert_texture")
        first_step[name] = min(
            int(step) for step in re.findall(rb'"done": (\d+), "total": 40, "unit": "steps"', output)
        )
    assert first_step["calm"] == 1 and first_step["killed"] > EVERY, "the resumed run began anew"
    assert len(found["killed"].facts["losses"]) == STEPS
    assert found["killed"].facts["losses"] == found["calm"].facts["losses"]
    assert found["killed"].digest == found["calm"].digest
