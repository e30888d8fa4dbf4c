"""The site inside a real Airflow: in its navigation, and for nobody who is not logged in."""

import json
import os
import secrets
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from ray_jobs.airflow_site import PREFIX
from ray_jobs.local_platform import REPOSITORY, free_port
from ray_jobs.store import STORE_VARIABLE, Store
from tests.ray_jobs.test_site_server import publish

pytestmark = [pytest.mark.airflow, pytest.mark.timeout(300)]


def call(address, path, token="", body=None):
    """(status, text) of a request."""
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
    data = json.dumps(body).encode() if body else None
    try:
        with urllib.request.urlopen(urllib.request.Request(address + path, data, headers), timeout=10) as reply:
            return reply.status, reply.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(errors="replace")
    except OSError:
        return 0, ""


@pytest.fixture(scope="module")
def airflow(tmp_path_factory):
    """An API server with our plugins folder over a store with one site: (address, a user's token)."""
    folder = tmp_path_factory.mktemp("airflow")
    store = Store(str(folder / "store"))
    publish(store, folder, "a", "the evaluation site")
    address = f"http://127.0.0.1:{free_port()}"
    environment = {
        **os.environ,
        STORE_VARIABLE: store.uri,
        "AIRFLOW_HOME": str(folder),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(REPOSITORY / "infra" / "airflow" / "plugins"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": address.rpartition(":")[2],
        "AIRFLOW__API__BASE_URL": address,
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_hex(32),
        "AIRFLOW__API__SECRET_KEY": secrets.token_hex(32),
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        "PYTHONPATH": f"{REPOSITORY}:{os.environ.get('PYTHONPATH', '')}",
    }
    command = str(Path(sys.executable).parent / "airflow")
    subprocess.run([command, "db", "migrate"], env=environment, check=True, capture_output=True, cwd=folder)
    with (folder / "api.log").open("wb") as log:
        server = subprocess.Popen(
            [command, "api-server"], env=environment, stdout=log, stderr=log, cwd=folder, start_new_session=True
        )
    try:
        ends = time.monotonic() + 150
        while call(address, "/api/v2/version")[0] != 200:
            assert server.poll() is None and time.monotonic() < ends, (folder / "api.log").read_text()[-3000:]
            time.sleep(0.5)
        password = json.loads((folder / "simple_auth_manager_passwords.json.generated").read_text())["admin"]
        _, reply = call(address, "/auth/token", body={"username": "admin", "password": password})
        yield address, json.loads(reply)["access_token"]
    finally:
        os.killpg(server.pid, 9)  # nothing in it is worth a graceful end
        server.wait(30)


def test_who_is_logged_in_sees_the_site_and_nobody_else(airflow):
    address, token = airflow
    assert call(address, f"{PREFIX}/index.html", token) == (200, "the evaluation site")
    assert call(address, f"{PREFIX}/metrics", token)[0] == 200
    for path in ("/", "/index.html", "/metrics", "/pictures/a.webp", "/nothing"):
        assert call(address, PREFIX + path)[0] == 401, path
        assert call(address, PREFIX + path, "forged")[0] in (401, 403), path


def test_the_navigation_has_an_entry_for_it(airflow):
    address, token = airflow
    status, text = call(address, "/api/v2/plugins", token)
    (plugin,) = [each for each in json.loads(text)["plugins"] if each["name"] == "pangu_site"]
    assert status == 200 and plugin["external_views"][0]["href"] == f"{PREFIX}/index.html"
    assert json.loads(call(address, "/api/v2/plugins/importErrors", token)[1])["total_entries"] == 0
