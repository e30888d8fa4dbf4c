"""A real Airflow for tests: its own AIRFLOW_HOME, SQLite, LocalExecutor, one process group per component.

The components are those of `airflow standalone`, started one by one, so that a test can kill and restart each.
"""

import contextlib
import json
import os
import secrets
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from processes import ProcessGroup, free_port, wait_until

COMPONENTS = ("api-server", "scheduler", "dag-processor", "triggerer")
TERMINAL = {"success", "failed", "skipped", "upstream_failed", "removed"}


class AirflowHome:
    """The components, the REST API and the logs of one Airflow."""

    def __init__(self, folder: Path, dags_folder: Path, extra_env: Mapping[str, str]) -> None:
        self.folder = folder
        port = free_port()
        self.address = f"http://127.0.0.1:{port}"
        self.env = {
            **os.environ,
            "AIRFLOW_HOME": str(folder),
            "AIRFLOW__CORE__DAGS_FOLDER": str(dags_folder),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
            "AIRFLOW__CORE__PARALLELISM": "4",
            "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
            "AIRFLOW__CORE__FERNET_KEY": "",
            "AIRFLOW__API__HOST": "127.0.0.1",
            "AIRFLOW__API__PORT": str(port),
            "AIRFLOW__API__BASE_URL": self.address,
            "AIRFLOW__API__WORKERS": "1",
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{self.address}/execution/",
            "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_hex(32),
            "AIRFLOW__API__SECRET_KEY": secrets.token_hex(32),
            "AIRFLOW__SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "1",
            "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "60",
            "AIRFLOW__SCHEDULER__TRIGGER_TIMEOUT_CHECK_INTERVAL": "2",
            "AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC": "1",
            "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "6",
            "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
            "OMP_NUM_THREADS": "1",
            **extra_env,
        }
        self._groups: dict[str, ProcessGroup] = {}
        self._token = ""

    # Processes

    def start(self, timeout_s: float = 90.0) -> None:
        """Create the database and start every component; return when all are healthy."""
        subprocess.run([self._airflow, "db", "migrate"], env=self.env, check=True, capture_output=True, cwd=self.folder)
        for name in COMPONENTS:
            self.start_component(name)
        wait_until(self._is_healthy, timeout_s, "Airflow is healthy", 0.5)
        passwords = json.loads((self.folder / "simple_auth_manager_passwords.json.generated").read_text())
        login = {"username": "admin", "password": passwords["admin"]}
        self._token = self._call("POST", "/auth/token", login)["access_token"]

    def start_component(self, name: str) -> None:
        log_path = self.folder / f"{name}.log"
        self._groups[name] = ProcessGroup([self._airflow, name], env=self.env, log_path=log_path, cwd=self.folder)

    def kill_component(self, name: str) -> None:
        """SIGKILL a component with all its processes."""
        self._groups.pop(name).kill()

    def terminate_component(self, name: str) -> None:
        """SIGTERM a component, as a rolling deployment does."""
        self._groups.pop(name).terminate()

    def is_component_running(self, name: str) -> bool:
        return name in self._groups and self._groups[name].is_running()

    def stop(self) -> None:
        # Nothing in it is worth a graceful end.
        for group in self._groups.values():
            group.kill()

    # REST API

    def get(self, path: str, **query: str):
        return self._call("GET", f"/api/v2{path}" + (f"?{urllib.parse.urlencode(query)}" if query else ""))

    def post(self, path: str, body: dict):
        return self._call("POST", f"/api/v2{path}", body)

    def patch(self, path: str, body: dict):
        return self._call("PATCH", f"/api/v2{path}", body)

    def wait_for_dag(self, dag_id: str, timeout_s: float = 60.0) -> None:
        """Return once the DAG is there; raise with its import errors where it is not."""

        def is_there() -> bool:
            with contextlib.suppress(urllib.error.HTTPError):
                return bool(self.get(f"/dags/{dag_id}"))
            return False

        try:
            wait_until(is_there, timeout_s, f"DAG {dag_id}", 0.5)
        except TimeoutError as error:
            raise RuntimeError(json.dumps(self.get("/importErrors"), indent=1)) from error

    def trigger_dag(self, dag_id: str, run_id: str, conf: dict | None = None) -> None:
        self.post(f"/dags/{dag_id}/dagRuns", {"dag_run_id": run_id, "logical_date": None, "conf": conf or {}})

    def task(self, dag_id: str, run_id: str, task_id: str) -> dict:
        return self.get(f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}")

    def wait_for_task(
        self, dag_id: str, run_id: str, task_id: str, states: set[str], timeout_s: float, min_try: int = 0
    ) -> dict:
        """Return the task instance once it is in one of the states, at the given attempt or later."""

        def reached() -> dict | None:
            task = self.task(dag_id, run_id, task_id)
            return task if task["state"] in states and task["try_number"] >= min_try else None

        try:
            return wait_until(reached, timeout_s, f"{dag_id}.{task_id} of {run_id} in {sorted(states)}", 0.3)
        except TimeoutError as error:
            task = self.task(dag_id, run_id, task_id)
            text = f"state {task['state']}, try {task['try_number']}\n{self.task_logs(dag_id, run_id, task_id)}"
            raise TimeoutError(f"{error}: {text}") from None

    def set_task_state(self, dag_id: str, run_id: str, task_id: str, state: str) -> None:
        self.patch(f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}", {"new_state": state})

    def clear_task(self, dag_id: str, run_id: str, task_id: str) -> None:
        """Clear as the UI's button does, whatever state the task is in."""
        body = {"dry_run": False, "task_ids": [task_id], "dag_run_id": run_id, "only_failed": False}
        self.post(f"/dags/{dag_id}/clearTaskInstances", {**body, "reset_dag_runs": True})

    def xcom(self, dag_id: str, run_id: str, task_id: str, key: str = "return_value"):
        return self.get(f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/xcomEntries/{key}")["value"]

    def task_logs(self, dag_id: str, run_id: str, task_id: str) -> str:
        """Return every log file of the task, all attempts and all triggerers, as they lie on disk."""
        folder = self.folder / "logs" / f"dag_id={dag_id}" / f"run_id={run_id}" / f"task_id={task_id}"
        files = sorted(folder.rglob("*.log*"), key=lambda path: path.stat().st_mtime)
        return "".join(f"--- {path.name}\n{path.read_text(errors='replace')}\n" for path in files)

    @property
    def _airflow(self) -> str:
        return str(Path(sys.executable).with_name("airflow"))

    def _is_healthy(self) -> bool:
        for name, group in self._groups.items():
            if not group.is_running():
                raise RuntimeError(f"{name} ended:\n{group.log_tail()}")
        try:
            health = self._call("GET", "/api/v2/monitor/health")
        except OSError:
            return False
        return all(health[part]["status"] == "healthy" for part in ("scheduler", "triggerer", "dag_processor"))

    def _call(self, method: str, path: str, body: dict | None = None):
        headers = {"Content-Type": "application/json"}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        data = json.dumps(body).encode() if body is not None else None
        for is_last in (False, False, True):
            request = urllib.request.Request(self.address + path, method=method, data=data, headers=headers)
            try:
                with urllib.request.urlopen(request, timeout=30) as answer:
                    text = answer.read()
                    return json.loads(text) if text else None
            except urllib.error.HTTPError as error:
                # SQLite under five processes: "database is locked" comes as a 500 now and then.
                if error.code != 500 or is_last:
                    error.add_note(f"{method} {path}: {error.read()[:2000]!r}")
                    raise
                time.sleep(1)
        raise AssertionError("unreachable")


@contextmanager
def running_airflow(dags_folder: Path, extra_env: Mapping[str, str]):
    """Start an Airflow over the folder of DAGs and end it, whatever happens."""
    with TemporaryDirectory(prefix="airflow-", ignore_cleanup_errors=True) as folder:
        home = AirflowHome(Path(folder), dags_folder, extra_env)
        try:
            home.start()
            yield home
        finally:
            home.stop()
