"""The site over HTTP: the newest version's files and nothing else, with the strict policy as a header."""

import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest
from fastapi.testclient import TestClient

from ray_jobs import site_server
from ray_jobs.artifacts import JOBS
from ray_jobs.job import JobContext, JobPlan
from ray_jobs.job_configs import CONFIGS
from ray_jobs.progress import Progress
from ray_jobs.site_server import POLICY, make_app
from ray_jobs.store import STORE_VARIABLE, Store


def publish(store, folder, key, text):
    """A version of the dashboard with one page, a picture and the metrics file."""
    site = folder / key
    (site / "pictures").mkdir(parents=True)
    (site / "index.html").write_text(text)
    (site / "pictures" / "a.webp").write_bytes(b"RIFF")
    (site / "metrics.prom").write_text("pangu_evaluation_alarms 0\n")
    plan = JobPlan(JOBS["publish_dashboard"], CONFIGS["publish_dashboard"](), {}, key * 24)
    JobContext(plan, store, plan.config, Progress("publish_dashboard")).commit_folder(site)


@pytest.fixture
def store(tmp_path):
    return Store(str(tmp_path / "store"))


def test_the_newest_site_is_served_with_its_policy(store, tmp_path, monkeypatch):
    monkeypatch.setattr(site_server, "_LOOK_EVERY_S", 0.0)
    publish(store, tmp_path, "a", "first")
    client = TestClient(make_app(lambda: store))
    assert client.get("/", follow_redirects=True).text == "first"
    publish(store, tmp_path, "b", "second")
    reply = client.get("/index.html")
    assert reply.text == "second" and reply.headers["content-type"] == "text/html; charset=utf-8"
    assert reply.headers["content-security-policy"] == f"{POLICY}; frame-ancestors 'none'"
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert client.get("/pictures/a.webp").headers["content-type"] == "image/webp"
    assert client.get("/metrics").text.startswith("pangu_evaluation_alarms")


@pytest.mark.parametrize(
    "path", ["/nothing.html", "/../manifest.json", "/%2e%2e/manifest.json", "//etc/passwd", "/x%00"]
)
def test_what_the_manifest_does_not_list_is_not_there(store, tmp_path, path):
    publish(store, tmp_path, "a", "first")
    assert TestClient(make_app(lambda: store)).get(path).status_code == 404


def test_before_the_first_site_the_answer_says_how_to_make_one(store):
    reply = TestClient(make_app(lambda: store)).get("/index.html")
    assert reply.status_code == 404 and "publish_dashboard" in reply.text


@pytest.mark.reliability(23)
def test_the_server_is_on_loopback_and_refuses_a_foreign_host(store, tmp_path, monkeypatch):
    publish(store, tmp_path, "a", "first")
    monkeypatch.setenv(STORE_VARIABLE, store.uri)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen([sys.executable, "-m", "ray_jobs.site_server", "--port", str(port)])
    try:
        ends = time.monotonic() + 120
        while ask(port, "127.0.0.1") == 0 and time.monotonic() < ends and process.poll() is None:
            time.sleep(0.2)
        assert (ask(port, "127.0.0.1"), ask(port, "evil.example")) == (200, 400)
        import psutil

        bound = {c.laddr.ip for c in psutil.Process(process.pid).net_connections() if c.status == "LISTEN"}
        assert bound == {"127.0.0.1"}
    finally:
        process.terminate()
        process.wait(30)


def ask(port, host):
    request = urllib.request.Request(f"http://127.0.0.1:{port}/index.html", headers={"Host": host})
    try:
        with urllib.request.urlopen(request, timeout=5) as reply:
            return reply.status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0
