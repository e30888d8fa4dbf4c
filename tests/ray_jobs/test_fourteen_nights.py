"""Fourteen nights backfilled by the real scheduler: a broken candidate is flagged on its night and on no other.

The scheduler adds tonight's own run as soon as the DAG is switched on. ``PANGU_NIGHTS_HOME`` keeps the store and the site
in a folder.
"""

import json
import os
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from ray_jobs import compare_models, write_history
from ray_jobs.airflow_client import AirflowClient
from ray_jobs.errors import PlatformError
from ray_jobs.folder_versions import fetch_version
from ray_jobs.job import JobContext, plan_job
from ray_jobs.local_platform import LocalPlatform, free_port
from ray_jobs.parts import read_rows
from ray_jobs.progress import Progress
from ray_jobs.store import Store
from ray_jobs.versions import Versions
from tests.ray_jobs.model_versions import curate_here, publish_pair, write_prompts

DAG = "evaluate_nightly"
NIGHTS = [f"2026-11-{day:02d}T03:00:00Z" for day in range(1, 15)]
PLANTED = NIGHTS[10]
CANDIDATES = {NIGHTS[0]: "a", NIGHTS[3]: "b", NIGHTS[6]: "c", NIGHTS[9]: "d", PLANTED: "broken", NIGHTS[11]: "d"}
"""From when on which pair is the candidate; the champion is pair a throughout."""
SMALL_CHANGE, DAMAGE, PROMPTS = 0.002, 1.0, 32
PRESET = """
extends = "sample"
[schedules]
evaluate_nightly = "0 3 * * *"
[[notifiers]]
class = "ray_jobs.webhook_notifier:WebhookNotifier"
conn_id = "pangu_alarms"
[nightly.register_prompts]
path = "{prompts}"
[nightly.generate_images]
steps = 6
batch_size = 16
images_per_part = 32
[nightly.compare_models]
gate = "if_not_worse"
[publish_dashboard]
num_pictures = 16
"""


@pytest.fixture
def webhook(monkeypatch):
    """A receiver on loopback that keeps what was posted with the right token."""
    received = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            allowed = self.headers["Authorization"] == "Bearer sesame" and self.path == "/alarms"
            if allowed:
                received.append(json.loads(body))
            self.send_response(200 if allowed else 403)
            self.end_headers()

        def log_message(self, *arguments):
            return None

    server = HTTPServer(("127.0.0.1", 0), Receiver)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    host = f"http://127.0.0.1:{server.server_port}/alarms"
    connection = json.dumps({"conn_type": "http", "host": host, "password": "sesame"})
    monkeypatch.setenv("AIRFLOW_CONN_PANGU_ALARMS", connection)
    yield received
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def platform(sample_site, tmp_path, webhook, monkeypatch):
    """A running platform whose store has a reference, the pairs, and the aliases as they moved."""
    home = Path(os.environ.get("PANGU_NIGHTS_HOME", tmp_path / "nights"))
    home.mkdir(parents=True)
    store = Store(str(home / "store"))
    curate_here(store, *sample_site, monkeypatch)
    changes = {name: {"structure": SMALL_CHANGE, "texture": SMALL_CHANGE} for name in "abcd"}
    changes["broken"] = {"structure": DAMAGE, "texture": SMALL_CHANGE}
    pairs = {
        name: publish_pair(store, tmp_path, name, seed=seed, **change)
        for seed, (name, change) in enumerate(changes.items())
    }
    versions = Versions(store)
    versions.promote(pairs["a"], "champion", at="2026-11-01")
    for moment, name in CANDIDATES.items():
        versions.promote(pairs[name], "candidate", at=moment)
    preset = home / "nights.toml"
    preset.write_text(PRESET.format(prompts=write_prompts(home / "prompts.jsonl", PROMPTS)), encoding="utf-8")
    pangu(home, "up", "--preset", str(preset), *ports("airflow", "ray", "site"))
    yield LocalPlatform.read_state(home)
    pangu(home, "down")


def ports(*names):
    return [text for name in names for text in (f"--{name}-port", str(free_port()))]


def pangu(home, *arguments):
    """The command, in a process of its own."""
    command = [sys.executable, "-m", "ray_jobs.cli", *arguments, "--home", str(home)]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_") and k != "PANGU_STORE"}
    done = subprocess.run(command, env=environment, text=True, capture_output=True, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr


def backfill(airflow, first, last, *, backwards=False, again=False):
    """Run the nights from first to last, wait until nothing runs, and see that all went well."""
    before = {run["dag_run_id"]: run["end_date"] for run in runs_of(airflow)}
    body = {"dag_id": DAG, "from_date": first, "to_date": last, "run_backwards": backwards, "max_active_runs": 2}
    create_backfill(airflow, body | {"reprocess_behavior": "completed" if again else "none"})
    wanted, ends = [night for night in NIGHTS if first <= night <= last], time.monotonic() + 5400
    while True:
        runs = runs_of(airflow)
        assert not [run for run in runs if run["state"] == "failed"], runs
        fresh = [run for run in runs if before.get(run["dag_run_id"], "") != run["end_date"]]
        done = {run["logical_date"] for run in fresh if run["state"] == "success"}
        if done >= set(wanted) and all(run["state"] == "success" for run in runs) and not open_backfills(airflow):
            return
        assert time.monotonic() < ends, runs
        time.sleep(3)


def create_backfill(airflow, body):
    """Ask until it is taken, while the DAG rests: on SQLite, Airflow refuses a backfill while its scheduler writes, and
    takes back what it had made of it, which ends a scheduler that has begun with it."""
    airflow.call("PATCH", f"/api/v2/dags/{DAG}", {"is_paused": True})
    ends = time.monotonic() + 600
    while True:
        try:
            airflow.call("POST", "/api/v2/backfills", body)
        except PlatformError as error:
            assert "Database is locked" in str(error) and time.monotonic() < ends, error
            time.sleep(2)
        else:
            airflow.unpause(DAG)
            return


def open_backfills(airflow):
    """Those that the scheduler has not closed, which it does some time after their last run; another must wait for that."""
    found = airflow.call("GET", f"/api/v2/backfills?dag_id={DAG}")["backfills"]
    return [each["id"] for each in found if each["completed_at"] is None]


def runs_of(airflow):
    """Every run there is, tonight's among them."""
    return airflow.call("GET", f"/api/v2/dags/{DAG}/dagRuns?limit=100")["dag_runs"]


def wait_for_dag(airflow):
    ends = time.monotonic() + 600
    while not airflow.has_dag(DAG):
        assert time.monotonic() < ends and not airflow.import_errors(), airflow.import_errors()
        time.sleep(2)


def keys_of(versions):
    """Every version there is; a key that is found again is listed anew, so the log says less."""
    return {artifact: {entry.key for entry in versions.history(artifact)} for artifact in versions.artifacts()}


def rebuild_in_order(store, folder):
    """Every night compared once more, one after the other and without a scheduler: the history of that."""
    nights = Versions(store).newest_of_nights("nights")
    other = Store(str(folder))
    for name in store.names("metrics"):
        other.create(name, store.read(name))
    for night, version in nights.items():
        models = version.facts["models"]
        references = {f"{model}:metrics": f"metrics@{found['metrics']}" for model, found in models.items()}
        plan = plan_job("compare_models", {"night": night, "gate": "if_not_worse"}, references, other)
        compare_models.run(JobContext(plan, other, plan.config, Progress("compare_models")))
        plan = plan_job("write_history", {}, {}, other)
        found = write_history.run(JobContext(plan, other, plan.config, Progress("write_history")))
    return found


@pytest.mark.airflow
@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.nightly
@pytest.mark.reliability(11)
@pytest.mark.timeout(7200)
def test_fourteen_backfilled_nights_flag_the_broken_candidate_and_no_other(platform, webhook, tmp_path):
    store, versions = platform.store, Versions(platform.store)
    airflow = AirflowClient(platform.airflow_address, platform.airflow_home)
    wait_for_dag(airflow)
    started = time.monotonic()
    backfill(airflow, NIGHTS[7], NIGHTS[13], backwards=True)
    backfill(airflow, NIGHTS[0], NIGHTS[6])
    print(f"fourteen nights: {time.monotonic() - started:.0f} s")

    history = versions.latest("history")
    rows = read_rows(store, history).to_pylist()
    assert sorted({row["night"] for row in rows})[:14] == NIGHTS
    raised = {(row["night"], row["model"]) for row in rows if row["is_alarm"]}
    assert raised == {(PLANTED, "candidate")}, history.facts["alarms"]
    assert {row["metric"] for row in rows if row["is_alarm"]} >= {"clip_score"}
    paired = [row for row in rows if row["metric"] == "clip_score" and row["stratum"] == "all" and row["num_nights"]]
    assert {row["num_pairs"] for row in paired} == {PROMPTS}
    assert {message["night"] for message in webhook} == {PLANTED}, "the alarm was told, and nothing else was"

    nights = versions.newest_of_nights("nights")
    refused = nights[PLANTED].facts["gate"]
    assert "clip_score" in refused["worse"] and not refused["is_promotion"]
    assert (
        versions.as_of("experts", NIGHTS[13], "champion").key
        == nights[NIGHTS[0]].facts["models"]["champion"]["version"]
    )
    assert (
        len(versions.history("metrics"))
        and len({v.facts["models"]["candidate"]["metrics"] for v in nights.values()}) == 5
    )
    assert rebuild_in_order(store, tmp_path / "again").digest == history.digest

    fetch_version(store, versions.latest("dashboard"), platform.home / "site")
    page = (platform.home / "site" / "evaluation.html").read_text(encoding="utf-8")
    assert "2026-11-11" in page

    kept = keys_of(versions)
    told = len(webhook)
    backfill(airflow, PLANTED, PLANTED, again=True)
    assert keys_of(versions) == kept
    assert versions.latest("history").digest == history.digest and len(webhook) == told
