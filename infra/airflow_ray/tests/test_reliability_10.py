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
DAGS = [pytest.param("deferred", marks=[]), pytest.param("running", marks=pytest.mark.slow)]


class RunningTask:
    """A task whose Ray job works: its actors are alive and the task is in the state it stays in."""

    def __init__(self, home, head, dag_id: str, run_id: str, folder: Path, seconds: float = 300) -> None:
        self.home, self.head, self.dag_id, self.run_id = home, head, dag_id, run_id
        self.state_path = folder / f"{dag_id}-{run_id}.json"
        command = f"{sys.executable} {JOB} {self.state_path} {seconds}"
        home.trigger_dag(dag_id, run_id, {"entrypoint": command})

    def wait_until_working(self) -> str:
        """Return the submission id."""
        state = "running" if "running" in self.dag_id else "deferred"
        self.home.wait_for_task(self.dag_id, self.run_id, "job", {state}, 60)
        wait_until(lambda: len(self.head.live_actors(self.state_path.stem)) == 2, 90, "two actors alive")
        [submission_id] = self.jobs()
        return submission_id

    def jobs(self) -> dict[str, dict]:
        found = self.head.jobs(f"{self.dag_id}-job")
        return {name: job for name, job in found.items() if job["metadata"]["airflow_run_id"] == self.run_id}

    def assert_stopped(self, submission_id: str, since: float) -> None:
        """Hold the bounds, counted from `since` (seconds of the epoch)."""
        self.head.wait_for_status(submission_id, {"STOPPED"}, STOPPED_WITHIN_S + 15)
        ended = self.jobs()[submission_id]["end_time"] / 1000
        assert ended - since <= STOPPED_WITHIN_S
        assert json.loads(self.state_path.read_text())["was_stopped"] is True
        left_s = since + ACTORS_GONE_WITHIN_S - time.time()
        wait_until(lambda: not self.head.live_actors(self.state_path.stem), left_s, "no live actor")


@pytest.mark.parametrize("dag_id", DAGS)
def test_marking_failed_stops_the_job(airflow_home, ray_head, tmp_path, dag_id):
    task = RunningTask(airflow_home, ray_head, dag_id, "marked-failed", tmp_path)
    submission_id = task.wait_until_working()
    since = time.time()
    airflow_home.set_task_state(dag_id, "marked-failed", "job", "failed")
    task.assert_stopped(submission_id, since)
    assert airflow_home.task(dag_id, "marked-failed", "job")["state"] == "failed"
    assert list(task.jobs()) == [submission_id]


@pytest.mark.slow
@pytest.mark.parametrize("dag_id", DAGS)
def test_clearing_stops_the_job_and_starts_another(airflow_home, ray_head, tmp_path, dag_id):
    task = RunningTask(airflow_home, ray_head, dag_id, "cleared", tmp_path)
    first = task.wait_until_working()
    since = time.time()
    airflow_home.clear_task(dag_id, "cleared", "job")
    ray_head.wait_for_status(first, {"STOPPED"}, STOPPED_WITHIN_S)
    assert task.jobs()[first]["end_time"] / 1000 - since <= STOPPED_WITHIN_S
    assert json.loads(task.state_path.read_text())["was_stopped"] is True

    second = wait_until(lambda: set(task.jobs()) - {first}, 90, "a second job").pop()
    ray_head.wait_for_status(second, {"RUNNING"}, 30)
    wait_until(lambda: len(ray_head.live_actors(task.state_path.stem)) == 2, 60, "the second job's actors alone")
    state = "running" if dag_id == "running" else "deferred"
    airflow_home.wait_for_task(dag_id, "cleared", "job", {state}, 30)
    since = time.time()
    airflow_home.set_task_state(dag_id, "cleared", "job", "failed")
    task.assert_stopped(second, since)


@pytest.mark.slow
@pytest.mark.parametrize("dag_id", ["timed_deferred", "timed_running", "timed_job"])
def test_a_timeout_stops_the_job(airflow_home, ray_head, tmp_path, dag_id):
    task = RunningTask(airflow_home, ray_head, dag_id, "timed", tmp_path)
    ended = airflow_home.wait_for_task(dag_id, "timed", "job", {"failed", "success"}, 120)
    assert ended["state"] == "failed"
    [submission_id] = task.jobs()
    assert ray_head.status(submission_id) == "STOPPED", "the attempt ended before its job"
    started = datetime.fromisoformat(ended["start_date"]).timestamp()
    task.assert_stopped(submission_id, started + 12)


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
