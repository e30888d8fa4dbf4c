"""``pangu demo``: the whole chain through the real scheduler, with live progress, ending in a table and a site."""

import json
import sys
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from ray_jobs.airflow_client import AirflowClient
from ray_jobs.artifacts import JOBS
from ray_jobs.demo_report import print_report
from ray_jobs.errors import PlatformError
from ray_jobs.folder_versions import fetch_version
from ray_jobs.local_platform import LocalPlatform, refuse_occupied
from ray_jobs.progress import read_last
from ray_jobs.versions import Versions

LAST_TASKS = {
    "rebuild_dataset": "build_training_set",
    "train_experts": "publish_experts",
    "generate_images": "generate_images",
    "evaluate_nightly": "publish_dashboard",
}
"""The DAGs in their order, each with the task whose asset starts the next."""
POLL_S = 1.0


@dataclass
class Demo:
    """One run of the chain on a local platform."""

    platform: LocalPlatform
    console: Console

    def run(self) -> Path:
        """Follow every DAG to its end; the site's first page. PlatformError says which task failed and why."""
        started = time.monotonic()
        self.platform.start(self.say)
        airflow = AirflowClient(self.platform.airflow_address, self.platform.airflow_home)
        self._wait_for_dags(airflow)
        moment = datetime.now(UTC).isoformat()
        submitted, changed = 0, False
        for dag_id, last_task in LAST_TASKS.items():
            for old in airflow.active_runs(dag_id, before=moment):
                self.say(f"{dag_id}: an interrupted run goes on first")
                submitted += self._follow(airflow, dag_id, old, may_fail=True)
            run_id = self._start_or_join(airflow, dag_id, moment, changed)
            submitted += self._follow(airflow, dag_id, run_id)
            changed = airflow.result(dag_id, run_id, last_task).get("changed") is True
        self.say(f"chain finished: {submitted} Ray jobs submitted, {time.monotonic() - started:.0f} s")
        site = self.fetch_site()
        print_report(self.platform.store, self.console)
        self.console.print(f"site: {site}")
        return site

    def say(self, text: str) -> None:
        """One line, with the time."""
        self.console.print(f"{datetime.now():%H:%M:%S} {text}", highlight=False, markup=False)

    def fetch_site(self) -> Path:
        """The newest dashboard as files under the platform's home."""
        version = Versions(self.platform.store).resolve("dashboard")
        folder = self.platform.home / "site"
        fetch_version(self.platform.store, version, folder)
        return folder / "index.html"

    def _wait_for_dags(self, airflow: AirflowClient) -> None:
        ends = time.monotonic() + 120
        while missing := [dag_id for dag_id in LAST_TASKS if not airflow.has_dag(dag_id)]:
            errors = airflow.import_errors()
            if errors or time.monotonic() > ends:
                raise PlatformError(f"Airflow did not read the DAGs {', '.join(missing)}: {' '.join(errors)[-800:]}")
            time.sleep(POLL_S)
        for dag_id in LAST_TASKS:
            airflow.unpause(dag_id)

    def _start_or_join(self, airflow: AirflowClient, dag_id: str, moment: str, changed: bool) -> str:
        """The run that the asset before fired; or a run of our own, where nothing new came or it is the first DAG."""
        ends = time.monotonic() + (30 if changed else 0)
        while True:
            runs = airflow.runs_since(dag_id, moment)
            if runs:
                return str(runs[-1]["dag_run_id"])
            if time.monotonic() >= ends:
                return airflow.trigger(dag_id)
            time.sleep(POLL_S)

    def _follow(self, airflow: AirflowClient, dag_id: str, run_id: str, *, may_fail: bool = False) -> int:
        """Show a run until it ends; how many Ray jobs it submitted."""
        shown: dict[str, str] = {}
        while True:
            state = airflow.run_state(dag_id, run_id)
            tasks = airflow.task_states(dag_id, run_id)
            jobs = self._ray_jobs(run_id)
            for task_id, task in tasks.items():
                line = describe_task(task, jobs.get(task_id), self._ray_log)
                if line and shown.get(task_id) != line:
                    shown[task_id] = line
                    self.say(f"{dag_id}.{task_id}: {line}")
            if state in ("success", "failed"):
                break
            if not self.platform.is_running("ray"):
                log = self.platform.home / "logs" / "ray.log"
                raise PlatformError(
                    f"{dag_id}: Ray has died (its log is {log}); run the command again, it goes on where it was"
                )
            time.sleep(POLL_S)
        if state == "failed" and not may_fail:
            failed = [task_id for task_id, task in tasks.items() if task["state"] == "failed"]
            raise PlatformError(f"{dag_id}: {', '.join(failed)} failed; {self._why(jobs, failed)}")
        return len(jobs)

    def _ray_jobs(self, run_id: str) -> dict[str, dict[str, Any]]:
        """Ray jobs of an Airflow run, by task; the newest where a task was tried again."""
        found: dict[str, dict[str, Any]] = {}
        for job in self._ray("/api/jobs/"):
            metadata = job.get("metadata") or {}
            if metadata.get("airflow_run_id") == run_id and metadata.get("job") in JOBS:
                task_id = metadata["airflow_task_id"]
                before = found.get(task_id)
                if before is None or (job.get("start_time") or 0) >= (before.get("start_time") or 0):
                    found[task_id] = job
        return found

    def _ray_log(self, submission_id: str) -> str:
        return str(self._ray(f"/api/jobs/{submission_id}/logs")["logs"])

    def _ray(self, path: str) -> Any:  # noqa: ANN401 JSON
        request = urllib.request.Request(self.platform.ray_address + path)
        request.add_header("Authorization", f"Bearer {self.platform.token_file.read_text().strip()}")
        try:
            with urllib.request.urlopen(request, timeout=10) as reply:
                return json.load(reply)
        except OSError:
            return {"logs": ""} if path.endswith("/logs") else []

    def _why(self, jobs: dict[str, dict[str, Any]], failed: list[str]) -> str:
        for task_id in failed:
            if task_id in jobs:
                lines = self._ray_log(jobs[task_id]["submission_id"]).strip().splitlines()
                errors = [line for line in lines if line.startswith("error:")]
                return (errors or lines or ["no log"])[-1][:500]
        return f"see the task logs at {self.platform.airflow_address}"


def describe_task(task: dict[str, Any], job: dict[str, Any] | None, read_log: Callable[[str], str]) -> str:
    """One line on a task: its state, and its Ray job's newest progress."""
    state = task["state"]
    if state in (None, "scheduled", "queued"):
        return ""
    if state == "success":
        return "done" if job else "already in the store"
    if job is None or state == "failed":
        return str(state)
    last = read_last(read_log(job["submission_id"]))
    if last is None:
        return "Ray job started"
    extra = "".join(f", {name} {value}" for name, value in last.items() if name not in ("job", "done", "total", "unit"))
    return f"{last['done']} of {last['total']} {last['unit']}{extra}"


def prepare_sample(platform: LocalPlatform, say: Callable[[str], None]) -> Path:
    """Draw the sample site once, serve it on loopback, and give its URL list."""
    from curation.sample.site import read_site_rows, write_site, write_url_list

    folder = platform.home / "sample-site"
    url_list = folder / "url_list.jsonl"
    if not url_list.exists():
        say("drawing the sample pictures")
        write_site(folder)
    write_url_list(read_site_rows(folder), f"http://127.0.0.1:{platform.ports.sample}", url_list)
    platform.stop("sample")
    refuse_occupied(platform.ports.sample, "sample")
    command = [sys.executable, "-m", "curation.sample.http_server", "--folder", str(folder)]
    platform.spawn("sample", [*command, "--port", str(platform.ports.sample)], platform.environment())
    return url_list


def write_demo_preset(platform: LocalPlatform, preset: str, url_list: Path, allow_hosts: list[str]) -> Path:
    """The preset of this demo: another one, with the URL list and the hosts that may be fetched although not public."""
    path = platform.home / "demo.toml"
    lines = [f"extends = {json.dumps(preset)}", "", "[register_url_list]", f"path = {json.dumps(str(url_list))}"]
    lines += ["", "[download_images]", f"allow_hosts = {json.dumps(allow_hosts)}", ""]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path
