"""The demo as a user runs it: real Airflow, real Ray, a small list. Minutes long, so it runs with the reliability rows."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys

import psutil
import pytest

from ray_jobs.local_platform import free_port

SMALL = """
extends = "sample"
[register_url_list]
rows_per_part = 40
[download_images]
timeout_s = 1.5
retries = 0
[train_structure]
steps = 6
batch_size = 8
[train_texture]
steps = 6
batch_size = 8
[register_prompts]
num_prompts = 24
rows_per_part = 2
[generate_images]
steps = 10
batch_size = 2
images_per_part = 2
"""


class Platform:
    """`pangu demo` and its relatives under one home."""

    def __init__(self, home, url_list, host):
        self.home, self.ports = home, [free_port(), free_port()]
        (home / "small.toml").write_text(SMALL)
        self.demo = ["demo", "--preset", str(home / "small.toml"), "--url-list", str(url_list), "--allow-host", host]

    def start(self, *arguments):
        command = [sys.executable, "-m", "ray_jobs.cli", *arguments, "--home", str(self.home / "p")]
        if arguments[0] != "down":
            command += ["--airflow-port", str(self.ports[0]), "--ray-port", str(self.ports[1])]
        environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_") and k != "PANGU_STORE"}
        return subprocess.Popen(command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def run(self, *arguments):
        process = self.start(*arguments)
        output, _ = process.communicate(timeout=900)
        assert process.returncode == 0, output
        return output

    def kill_ray_head(self):
        from ray_jobs.own_processes import own_processes

        found = [p for p, component in own_processes(self.home / "p").items() if component == "ray"]
        heads = [p for p in found if p.name() in ("gcs_server", "raylet")]
        assert heads
        for process in heads:
            with contextlib.suppress(psutil.NoSuchProcess):  # a raylet ends by itself when its gcs_server does
                process.send_signal(signal.SIGKILL)


@pytest.fixture
def platform(tmp_path, sample_site):
    found = Platform(tmp_path, *sample_site)
    yield found
    found.start("down").communicate(timeout=120)


@pytest.mark.airflow
@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.reliability(1)
@pytest.mark.timeout(1800)
def test_the_chain_survives_the_death_of_the_ray_head_and_then_submits_nothing(platform):
    from ray_jobs.parts import read_rows
    from ray_jobs.store import Store
    from ray_jobs.versions import Versions

    first = platform.start(*platform.demo)
    seen = []
    for line in first.stdout:
        seen.append(line)
        if re.search(r"generate_images\.generate_images: [1-9]\d* of 1\d parts", line):
            platform.kill_ray_head()
            break
    rest, _ = first.communicate(timeout=600)
    assert first.returncode == 1, "".join(seen) + rest
    assert "Ray has died" in rest

    platform.run(*platform.demo)
    store = Store(str(platform.home / "p" / "store"))
    version = Versions(store).latest("generated_images")
    keys = read_rows(store, version, ["key"]).column("key").to_pylist()
    assert len(keys) == len(set(keys)) == 24 and version.counts["kept"] == 24
    assert len(Versions(store).history("generated_images")) == 1

    again = platform.run(*platform.demo)
    assert "chain finished: 0 Ray jobs submitted" in again
    history = {name: len(Versions(store).history(name)) for name in Versions(store).artifacts()}
    assert set(history.values()) == {1}, json.dumps(history)
    assert (platform.home / "p" / "site" / "index.html").is_file()
