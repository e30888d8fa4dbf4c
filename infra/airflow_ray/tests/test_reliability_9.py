"""No duplicate Ray jobs: whatever dies between task and job, there is one job per attempt of the task.

The killed process is the one that was about to speak to Ray: the worker's task process where the task is synchronous,
the triggerer's where it is deferred. Runs overlap, each with its own kill point; all deferred runs share one triggerer,
so the next of them begins when the last has had its kill, which could otherwise take its place.
"""

import threading
from contextlib import contextmanager
from pathlib import Path

import pytest
from processes import wait_until

pytestmark = [pytest.mark.airflow, pytest.mark.ray, pytest.mark.reliability(9)]

WORKER_POINTS = ("before_submit", "after_submit", "before_saved", "polling")
TRIGGER_POINTS = ("before_deferral", *WORKER_POINTS)


@contextmanager
def triggerer_that_comes_back(home):
    """Start a new triggerer whenever there is none, as any supervisor of services would."""
    is_over = threading.Event()

    def look_after() -> None:
        while not is_over.wait(0.5):
            if not home.is_component_running("triggerer"):
                home.start_component("triggerer")

    thread = threading.Thread(target=look_after)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


def assert_one_job_each(home, head, dag_id: str, points, folder: Path) -> None:
    runs = [f"{point}--{dag_id}" for point in points]
    markers = Path(home.env["KILL_MARKERS"])
    for run_id in runs:
        home.trigger_dag(dag_id, run_id, {"entrypoint": f"echo ran >> {folder / run_id}; sleep 8; echo over"})
        if dag_id == "killed_deferred":
            wait_until((markers / run_id).exists, 90, f"the kill of {run_id}")
    for run_id in runs:
        task = home.wait_for_task(dag_id, run_id, "job", {"success", "failed"}, 180)
        assert task["state"] == "success", home.task_logs(dag_id, run_id, "job")

    assert {run_id for run_id in runs if (markers / run_id).exists()} == set(runs), "a kill point was never reached"
    by_run = {run_id: list(head.jobs(f"{dag_id}-job-g", run_id).values()) for run_id in runs}
    assert {run_id: len(found) for run_id, found in by_run.items()} == dict.fromkeys(runs, 1)
    assert all(job["status"] == "SUCCEEDED" and "-g0-" in job["submission_id"] for [job] in by_run.values())
    assert {run_id: (folder / run_id).read_text() for run_id in runs} == dict.fromkeys(runs, "ran\n")


@pytest.mark.slow
def test_a_killed_worker_leaves_one_job(airflow_home, ray_head, tmp_path):
    assert_one_job_each(airflow_home, ray_head, "killed_running", WORKER_POINTS, tmp_path)


@pytest.mark.slow
def test_a_killed_triggerer_leaves_one_job(airflow_home, ray_head, tmp_path):
    with triggerer_that_comes_back(airflow_home):
        assert_one_job_each(airflow_home, ray_head, "killed_deferred", TRIGGER_POINTS, tmp_path)


def test_a_worker_killed_between_submitting_and_knowing_it_leaves_one_job(airflow_home, ray_head, tmp_path):
    (tmp_path / "quick").mkdir()
    run_id = "after_submit--quick"
    command = f"echo ran >> {tmp_path / 'quick' / run_id}; sleep 3"
    airflow_home.trigger_dag("killed_running", run_id, {"entrypoint": command})
    task = airflow_home.wait_for_task("killed_running", run_id, "job", {"success", "failed"}, 120)
    assert (task["state"], task["try_number"]) == ("success", 2)
    assert (tmp_path / "quick" / run_id).read_text() == "ran\n"


@pytest.mark.slow
@pytest.mark.parametrize("dag_id", ["retried_deferred", "retried_running"])
def test_a_retry_after_a_failed_job_is_a_new_generation(airflow_home, ray_head, tmp_path, dag_id):
    flag = tmp_path / "flag"
    command = f"test -e {flag} || (touch {flag}; exit 3)"
    airflow_home.trigger_dag(dag_id, "fails-once", {"entrypoint": command})
    task = airflow_home.wait_for_task(dag_id, "fails-once", "job", {"success", "failed"}, 120)
    assert task["state"] == "success"
    jobs = ray_head.jobs(f"{dag_id}-job-g", "fails-once").values()
    states = {job["submission_id"].split("-g")[-1][0]: job["status"] for job in jobs}
    assert states == {"0": "FAILED", "1": "SUCCEEDED"}


@pytest.mark.slow
def test_clearing_a_success_runs_the_job_anew(airflow_home, ray_head, tmp_path):
    airflow_home.trigger_dag("retried_deferred", "cleared", {"entrypoint": f"echo ran >> {tmp_path / 'ran'}"})
    airflow_home.wait_for_task("retried_deferred", "cleared", "job", {"success"}, 90)
    airflow_home.clear_task("retried_deferred", "cleared", "job")
    airflow_home.wait_for_task("retried_deferred", "cleared", "job", {"success"}, 90, min_try=2)
    assert (tmp_path / "ran").read_text() == "ran\nran\n"
