"""The few calls of Airflow's REST API (v2) that the local platform needs."""

import json
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

from ray_jobs.errors import PlatformError

PASSWORDS = "simple_auth_manager_passwords.json.generated"


class AirflowClient:
    """One logged-in user of one Airflow on loopback."""

    def __init__(self, address: str, airflow_home: Path) -> None:
        """Log in as the admin whose password Airflow generated in its home."""
        self.address = address
        password = json.loads((airflow_home / PASSWORDS).read_text())["admin"]
        self.token = ""
        self.token = self.call("POST", "/auth/token", {"username": "admin", "password": password})["access_token"]

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:  # noqa: ANN401 JSON
        """One request; PlatformError with Airflow's own words when it refuses."""
        request = urllib.request.Request(self.address + path, method=method)
        request.add_header("Content-Type", "application/json")
        if self.token:
            request.add_header("Authorization", f"Bearer {self.token}")
        data = None if body is None else json.dumps(body).encode()
        try:
            with urllib.request.urlopen(request, data, timeout=30) as reply:
                return json.load(reply)
        except urllib.error.HTTPError as error:
            with error:
                raise PlatformError(f"Airflow, {method} {path}: {error.code} {error.read().decode()[:300]}") from None
        except OSError as error:
            raise PlatformError(f"Airflow, {method} {path}: {error}") from None

    def unpause(self, dag_id: str) -> None:
        """Let a DAG run."""
        self.call("PATCH", f"/api/v2/dags/{dag_id}", {"is_paused": False})

    def trigger(self, dag_id: str) -> str:
        """Start a run now; its id."""
        run: str = self.call("POST", f"/api/v2/dags/{dag_id}/dagRuns", {"logical_date": None})["dag_run_id"]
        return run

    def runs_since(self, dag_id: str, moment: str) -> list[dict[str, Any]]:
        """Runs queued at or after a moment (ISO 8601), oldest first."""
        query = urllib.parse.urlencode({"run_after_gte": moment, "order_by": "run_after", "limit": 20})
        found: list[dict[str, Any]] = self.call("GET", f"/api/v2/dags/{dag_id}/dagRuns?{query}")["dag_runs"]
        return found

    def active_runs(self, dag_id: str, before: str) -> list[str]:
        """Ids of unfinished runs that were queued before a moment, oldest first."""
        query = urllib.parse.urlencode(
            {"run_after_lt": before, "state": ["running", "queued"], "order_by": "run_after", "limit": 20}, doseq=True
        )
        found = self.call("GET", f"/api/v2/dags/{dag_id}/dagRuns?{query}")["dag_runs"]
        return [str(run["dag_run_id"]) for run in found]

    def run_state(self, dag_id: str, run_id: str) -> str:
        """queued, running, success or failed."""
        state: str = self.call("GET", f"/api/v2/dags/{dag_id}/dagRuns/{urllib.parse.quote(run_id)}")["state"]
        return state

    def task_states(self, dag_id: str, run_id: str) -> dict[str, dict[str, Any]]:
        """Every task instance of a run by task id."""
        path = f"/api/v2/dags/{dag_id}/dagRuns/{urllib.parse.quote(run_id)}/taskInstances"
        return {task["task_id"]: task for task in self.call("GET", path)["task_instances"]}

    def result(self, dag_id: str, run_id: str, task_id: str) -> dict[str, Any]:
        """What a task returned, or {}."""
        path = f"/api/v2/dags/{dag_id}/dagRuns/{urllib.parse.quote(run_id)}/taskInstances/{task_id}/xcomEntries/return_value"
        try:
            value = self.call("GET", path + "?deserialize=true")["value"]
        except PlatformError:
            return {}
        return value if isinstance(value, dict) else {}

    def has_dag(self, dag_id: str) -> bool:
        """Whether the DAG processor has read a DAG."""
        try:
            self.call("GET", f"/api/v2/dags/{dag_id}")
        except PlatformError:
            return False
        return True

    def import_errors(self) -> list[str]:
        """What was wrong with DAG files."""
        return [error["stack_trace"] for error in self.call("GET", "/api/v2/importErrors")["import_errors"]]
