"""Whatever `pangu up` and `pangu serve` listen on is shut to strangers: loopback, or 401, 403, or UNAUTHENTICATED."""

import http.client
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from ray_jobs.local_platform import LocalPlatform, Ports, http_status
from ray_jobs.own_processes import own_processes
from ray_jobs.store import Store
from tests.conftest import free_port
from tests.ray_jobs.service.http_client import KEY, ask, draw
from tests.reliability.listeners import is_loopback, listeners, why_open

pytestmark = [pytest.mark.slow, pytest.mark.reliability(17), pytest.mark.timeout(600)]


def open_doors(found):
    """Every listener that a stranger gets an answer from, with that answer."""
    beyond = {place: command for place, command in found.items() if not is_loopback(place[0])}
    told = {(*place, command): why_open(*place, command) for place, command in beyond.items()}
    return {place: why for place, why in told.items() if why is not None}


@pytest.mark.ray
@pytest.mark.airflow
def test_what_pangu_up_listens_on_is_shut(tmp_path):
    platform = LocalPlatform(tmp_path, Store(str(tmp_path / "store")), Ports(free_port(), free_port()))
    try:
        platform.start(lambda _: None)
        found = listeners(own_processes(tmp_path))
        assert {platform.ports.ray, platform.ports.airflow} <= {port for _, port in found}
        assert open_doors(found) == {}
        for path in ("/api/jobs/", "/api/cluster_status", "/api/serve/applications/", "/nodes?view=summary"):
            assert http_status(f"{platform.ray_address}{path}", {}) in (401, 403), path
        for method in ("POST", "DELETE"):
            assert refused(platform.ports.ray, method, "/api/jobs/", {"Origin": "https://stranger.example"})
            assert refused(platform.ports.ray, method, "/api/jobs/", {"Host": "stranger.example"})
        assert http_status(f"{platform.airflow_address}/api/v2/dags", {}) in (401, 403)
    finally:
        platform.stop()


def refused(port, method, path, headers):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, path, b"{}", headers)
        return connection.getresponse().status in (401, 403, 405)
    finally:
        connection.close()


@pytest.fixture
def served(tmp_path):
    """`pangu serve` with the carried pair, from a shell that says nothing of Ray: (process, port)."""
    port = free_port()
    bare = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "PANGU_"))}
    environment = bare | {
        "PANGU_API_KEYS": f"alice:{KEY}",
        "PANGU_HOME": str(tmp_path),
        "PANGU_SERVE_DEVICE": "cpu",
    }
    command = [sys.executable, "-m", "ray_jobs.cli", "serve", "--port", str(port)]
    log = tmp_path / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output, start_new_session=True)
    try:
        deadline = time.monotonic() + 480
        while http_status(f"http://127.0.0.1:{port}/health", {}) != 200:
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()[-3000:]
            time.sleep(0.5)
        yield process, port
    finally:
        family = [process, *children_of(process.pid)]
        process.send_signal(signal.SIGINT)
        _, alive = psutil.wait_procs([psutil.Process(p.pid) for p in family if psutil.pid_exists(p.pid)], timeout=60)
        for left in alive:
            left.kill()
        process.wait(timeout=60)
    assert alive == [], "it leaves no process behind"


def children_of(pid):
    return psutil.Process(pid).children(recursive=True) if psutil.pid_exists(pid) else []


@pytest.mark.ray
def test_what_pangu_serve_listens_on_is_shut_and_it_serves(served):
    process, port = served
    found = listeners([psutil.Process(process.pid), *children_of(process.pid)])
    assert port in {place for _, place in found}
    assert open_doors(found) == {}
    for path in ("/v1/models", "/v1/jobs", "/v1/members"):
        assert ask(port, "GET", path, key=None)[0] == 401
    for headers in ({"Origin": "https://stranger.example"}, {"Sec-Fetch-Site": "cross-site"}):
        assert draw(port, headers=headers)[0] == 403
    status, _, answer = draw(port, guidance=3)
    assert status == 200 and len(answer["data"]) == 1
    members = [
        {"name": "experts", "prompt": "a red circle"},
        {"name": "experts", "prompt": "蓝色的方块", "weight": 0.5},
    ]
    body = {"members": members, "steps": 2}
    deadline = time.monotonic() + 240
    while (answer := ask(port, "POST", "/v1/fusions", body))[0] == 503:  # its models load after the pair has
        assert time.monotonic() < deadline
        time.sleep(1.0)
    assert answer[0] == 200


def test_it_refuses_to_start_where_others_reach_it_without_keys(tmp_path):
    environment = {**os.environ, "PANGU_API_KEYS": "", "PANGU_HOME": str(tmp_path)}
    command = [sys.executable, "-m", "ray_jobs.cli", "serve", "--host", "0.0.0.0"]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 2 and "PANGU_API_KEYS" in ended.stderr
