"""What follows a night: the alias moves as the gate says and only then; every alarm is told once, to a real webhook."""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import SimpleNamespace

import pyarrow as pa
import pytest

from ray_jobs.artifacts import JOBS
from ray_jobs.errors import UnknownVersion
from ray_jobs.job import JobContext, JobPlan
from ray_jobs.job_configs import CONFIGS
from ray_jobs.manifest import Manifest
from ray_jobs.nightly_tasks import PromoteCandidate, RaiseAlarms, promote_winner
from ray_jobs.parts import write_part
from ray_jobs.progress import Progress
from ray_jobs.versions import Versions
from ray_jobs.webhook_notifier import address_of
from ray_jobs.write_history import HISTORY

NIGHT = "2026-11-27T03:00:00Z"


def commit(store, job, key, facts, rows=()):
    settings = {"night": NIGHT} if job == "compare_models" else {}
    plan = JobPlan(JOBS[job], CONFIGS[job].model_validate(settings), {}, key)
    context = JobContext(plan, store, plan.config, Progress(job))
    table = pa.Table.from_pylist(
        list(rows), schema=HISTORY if job == "write_history" else pa.schema([("x", pa.int64())])
    )
    return context.commit_parts([write_part(store, context.prefix, "00000.parquet", table, frozenset())], facts=facts)


@pytest.fixture
def night(folder_store):
    """A night whose gate lets the candidate follow, and the aliases as they stood."""
    pairs = {
        name: Versions(folder_store).commit(
            Manifest(artifact="experts", key=name, digest=name, job="j", code_version=1, config={}, inputs={}, parts=())
        )
        for name in ("old", "new", "newer")
    }
    for alias, name in (("champion", "old"), ("candidate", "new")):
        Versions(folder_store).promote(pairs[name], alias, at="2026-11-01")
    models = {role: {"name": "experts", "version": name} for role, name in (("champion", "old"), ("candidate", "new"))}
    gate = {"is_promotion": True, "why": "Nothing is significantly worse."}
    return commit(folder_store, "compare_models", "n" * 24, {"night": NIGHT, "models": models, "gate": gate})


def champion(store):
    return Versions(store).resolve("experts@champion").key


def test_the_gates_winner_becomes_champion_once(folder_store, night):
    versions = Versions(folder_store)
    done = promote_winner(versions, night, may_move=True)
    assert (done["moved"], champion(folder_store)) == (True, "new")
    assert NIGHT in versions.alias_moves("experts", "champion")[-1].why
    again = promote_winner(versions, night, may_move=True)
    assert not again["moved"] and "champion moved meanwhile" in again["why"]
    assert len(versions.alias_moves("experts", "champion")) == 2


def test_a_backfill_a_refusal_and_a_newer_candidate_move_nothing(folder_store, night):
    versions = Versions(folder_store)
    assert "a backfill moves no alias" in promote_winner(versions, night, may_move=False)["why"]
    refused = night.model_copy(update={"facts": night.facts | {"gate": {"is_promotion": False, "why": "Worse."}}})
    assert promote_winner(versions, refused, may_move=True) == {"moved": False, "champion": "old", "why": "Worse."}
    versions.promote(versions.resolve("experts@newer"), "candidate")
    assert "candidate moved meanwhile" in promote_winner(versions, night, may_move=True)["why"]
    assert champion(folder_store) == "old"


def test_the_task_knows_a_backfill_from_a_nights_own_run(folder_store, night, monkeypatch):
    monkeypatch.setenv("PANGU_STORE", folder_store.uri)
    for run_type, moved in (("backfill", False), ("scheduled", True)):
        context = {
            "dag_run": SimpleNamespace(run_type=run_type),
            "ti": SimpleNamespace(xcom_pull=lambda task_ids: {"key": night.key}),
        }
        assert PromoteCandidate(night_task="compare_models").execute(context)["moved"] is moved


def alarm(night, metric, **other):
    row = dict.fromkeys(HISTORY.names) | {"night": night, "model": "candidate", "metric": metric, "stratum": "all"}
    row |= {"extractor": "judge", "value": 0.09, "baseline_mean": 0.05, "effect_size": 9.0, "adjusted_p": 1e-6}
    return row | {"is_alarm": True, "model_version": "new"} | other


@pytest.fixture
def receiver():
    """(address, what was posted, statuses to answer with) of a webhook on loopback."""
    received, statuses = [], []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            received.append((self.headers["Authorization"], body))
            self.send_response(statuses.pop() if statuses else 200)
            self.end_headers()

        def log_message(self, *arguments):
            return None

    server = HTTPServer(("127.0.0.1", 0), Receiver)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/hook", received, statuses
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def raise_alarms(folder_store, tmp_path, monkeypatch, receiver):
    """raise_alarms(key of a history) -> nights that were told, with the webhook as the preset's notifier."""
    preset = tmp_path / "preset.toml"
    notifier = 'class = "ray_jobs.webhook_notifier:WebhookNotifier"\nconn_id = "alarms"'
    preset.write_text(f'extends = "sample"\n[[notifiers]]\n{notifier}\n')
    monkeypatch.setenv("PANGU_PRESET", str(preset))
    monkeypatch.setenv("PANGU_STORE", folder_store.uri)
    connection = json.dumps({"conn_type": "http", "host": receiver[0], "password": "sesame"})
    monkeypatch.setenv("AIRFLOW_CONN_ALARMS", connection)

    def run(key):
        context = {"ti": SimpleNamespace(xcom_pull=lambda task_ids: {"key": key})}
        return RaiseAlarms(history_task="write_history").execute(context)

    return run


def test_an_alarm_is_told_once_and_told_again_when_the_receiver_failed(folder_store, raise_alarms, receiver):
    _, received, statuses = receiver
    rows = [alarm(NIGHT, "kid"), alarm(NIGHT, "clip_score"), alarm("2026-11-26T03:00:00Z", "kid")]
    quiet = alarm("2026-11-25T03:00:00Z", "kid", is_alarm=False)
    commit(folder_store, "write_history", "h1", {"nights": {}}, [quiet, *rows])
    statuses.append(500)
    with pytest.raises(Exception, match="HTTP Error 500"):
        raise_alarms("h1")
    assert raise_alarms("h1") == ["2026-11-26T03:00:00Z", NIGHT]
    assert [body["night"] for _, body in received] == ["2026-11-26T03:00:00Z", "2026-11-26T03:00:00Z", NIGHT]
    token, body = received[-1]
    assert token == "Bearer sesame" and {each["metric"] for each in body["alarms"]} == {"kid", "clip_score"}
    assert "2 numbers moved" in body["text"] and "candidate kid (all): 0.09, nights before 0.05" in body["text"]
    assert raise_alarms("h1") == []
    commit(folder_store, "write_history", "h2", {"nights": {}}, [*rows, alarm("2026-11-28T03:00:00Z", "kid")])
    assert raise_alarms("h2") == ["2026-11-28T03:00:00Z"] and len(received) == 4


def test_only_airflow_notifiers_are_called(folder_store, raise_alarms, tmp_path):
    commit(folder_store, "write_history", "h1", {"nights": {}}, [alarm(NIGHT, "kid")])
    (tmp_path / "preset.toml").write_text('extends = "sample"\n[[notifiers]]\nclass = "pathlib:Path"\n')
    with pytest.raises(ValueError, match="accepted are Airflow notifiers"):
        raise_alarms("h1")


def test_a_webhooks_address_is_web(monkeypatch):
    from airflow.sdk import Connection

    plain = Connection(
        conn_id="c", conn_type="http", host="chat.example", schema="https", port=8443, extra='{"path": "/a/b"}'
    )
    assert address_of(plain) == "https://chat.example:8443/a/b"
    with pytest.raises(ValueError, match=r"connection c: address 'file:///etc/passwd'"):
        address_of(Connection(conn_id="c", conn_type="http", host="file:///etc/passwd"))


def test_an_alias_that_points_nowhere_yet_is_an_error_that_says_how_to_mend_it(folder_store, night):
    with pytest.raises(UnknownVersion, match=r"pangu promote experts@VERSION champion --at 2026-10-01T00:00:00Z"):
        Versions(folder_store).as_of("experts", "2026-10-01", "champion")
