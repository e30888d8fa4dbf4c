"""A job ends with its task: failed, cleared or out of time, running or deferred; a restart of the triggerer spares it.

Bounds: STOPPED within 30 s, no live actor within 60 s, and the job's state saved before it went.
"""

import json
import re
import sys
import time
from datetime import datetime
from pathlib import Path

import pytest
from processes import wait_until

pytestmark = [pytest.mark.airflow, pytest.mark.ray, pytest.mark.reliability(10)]

JOB = Path(__file__).parent / "support" / "actor_job.py"
STOPPED_WITHIN_S = 30
ACTORS_GONE_WITHIN_S = 60
TIMEOUT_S = 40
"""As in dags/ray_dags.py."""
MODES = ("deferred", "running")


class RunningTask:
    """A task whose Ray job works: its actors are alive and the task is in the state it stays in."""

    def __init__(self, home, head, dag_id: str, run_id: str, folder: Path, seconds: float = 300) -> None:
        self.home, self.head, self.dag_id, self.run_id = home, head, dag_id, run_id
        self.state_path = folder / f"{dag_id}-{run_id}.json"
        command = f"{sys.executable} {JOB} {self.state_path} {seconds}"
        home.trigger_dag(dag_id, run_id, {"entrypoint": command})

    def wait_until_working(self) -> str:
        """Return the submission id."""
        self.home.wait_for_task(self.dag_id, self.run_id, "job", {self.busy_state}, 60)
        wait_until(lambda: len(self.actors()) == 2, 90, "two actors alive")
        [submission_id] = self.jobs()
        return submission_id

    @property
    def busy_state(self) -> str:
        return "deferred" if "deferred" in self.dag_id else "running"

    def actors(self) -> list[dict]:
        return self.head.live_actors(self.state_path.stem)

    def jobs(self) -> dict[str, dict]:
        return self.head.jobs(f"{self.dag_id}-job-g", self.run_id)

    def assert_stopped(self, submission_id: str, since: float) -> None:
        """Hold the bounds, counted from `since` (seconds of the epoch)."""
        self.head.wait_for_status(submission_id, {"STOPPED"}, STOPPED_WITHIN_S + 15)
        ended = self.jobs()[submission_id]["end_time"] / 1000
        assert ended - since <= STOPPED_WITHIN_S
        assert json.loads(self.state_path.read_text())["was_stopped"] is True
        left_s = since + ACTORS_GONE_WITHIN_S - time.time()
        wait_until(lambda: not self.actors(), left_s, "no live actor")


def test_marking_failed_stops_the_job(airflow_home, ray_head, tmp_path):
    tasks = [RunningTask(airflow_home, ray_head, dag_id, "marked-failed", tmp_path) for dag_id in MODES]
    ids = [task.wait_until_working() for task in tasks]
    since = time.time()
    for task in tasks:
        airflow_home.set_task_state(task.dag_id, task.run_id, "job", "failed")
    for task, submission_id in zip(tasks, ids, strict=True):
        task.assert_stopped(submission_id, since)
        assert airflow_home.task(task.dag_id, task.run_id, "job")["state"] == "failed"
        assert list(task.jobs()) == [submission_id]


@pytest.mark.slow
def test_clearing_stops_the_job_and_starts_another(airflow_home, ray_head, tmp_path):
    tasks = [RunningTask(airflow_home, ray_head, dag_id, "cleared", tmp_path) for dag_id in MODES]
    firsts = [task.wait_until_working() for task in tasks]
    since = time.time()
    for task in tasks:
        airflow_home.clear_task(task.dag_id, task.run_id, "job")
    for task, first in zip(tasks, firsts, strict=True):
        ray_head.wait_for_status(first, {"STOPPED"}, STOPPED_WITHIN_S + 15)
        assert task.jobs()[first]["end_time"] / 1000 - since <= STOPPED_WITHIN_S
        assert json.loads(task.state_path.read_text())["was_stopped"] is True

    seconds = [
        wait_until(lambda t=t, f=f: set(t.jobs()) - {f}, 90, "a second job").pop()
        for t, f in zip(tasks, firsts, strict=True)
    ]
    for task, second in zip(tasks, seconds, strict=True):
        ray_head.wait_for_status(second, {"RUNNING"}, 30)
        wait_until(lambda task=task: len(task.actors()) == 2, 60, "the second job's actors alone")
        airflow_home.wait_for_task(task.dag_id, task.run_id, "job", {task.busy_state}, 30)
    since = time.time()
    for task in tasks:
        airflow_home.set_task_state(task.dag_id, task.run_id, "job", "failed")
    for task, second in zip(tasks, seconds, strict=True):
        task.assert_stopped(second, since)


@pytest.mark.slow
def test_a_timeout_stops_the_job(airflow_home, ray_head, tmp_path):
    dag_ids = ["timed_deferred", "timed_running", "timed_job"]
    tasks = [RunningTask(airflow_home, ray_head, dag_id, "timed", tmp_path) for dag_id in dag_ids]
    for task in tasks:
        task.wait_until_working()
    for task in tasks:
        ended = airflow_home.wait_for_task(task.dag_id, "timed", "job", {"failed", "success"}, 120)
        assert ended["state"] == "failed"
        [submission_id] = task.jobs()
        assert ray_head.status(submission_id) == "STOPPED", "the attempt ended before its job"
        started = datetime.fromisoformat(ended["start_date"]).timestamp()
        task.assert_stopped(submission_id, started + TIMEOUT_S)


@pytest.mark.slow
def test_a_restarted_triggerer_leaves_the_job_running_and_repeats_no_line(airflow_home, ray_head, tmp_path):
    task = RunningTask(airflow_home, ray_head, "deferred", "restarted", tmp_path, seconds=30)
    submission_id = task.wait_until_working()
    wait_until(lambda: "step 3" in airflow_home.task_logs("deferred", "restarted", "job"), 30, "the log has begun")
    airflow_home.terminate_component("triggerer")
    time.sleep(3)
    assert ray_head.status(submission_id) == "RUNNING"
    airflow_home.start_component("triggerer")
    ended = airflow_home.wait_for_task("deferred", "restarted", "job", {"success", "failed"}, 120)

    assert ended["state"] == "success"
    assert list(task.jobs()) == [submission_id]
    assert ray_head.status(submission_id) == "SUCCEEDED"
    steps = [int(step) for step in re.findall(r'"step (\d+)"', airflow_home.task_logs("deferred", "restarted", "job"))]
    assert steps == list(range(1, len(steps) + 1))
    assert json.loads(task.state_path.read_text())["step"] == len(steps)
