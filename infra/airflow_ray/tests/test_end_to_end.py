"""The shipped operator in a real Airflow over a real Ray head: the plain cases."""

import pytest

pytestmark = [pytest.mark.airflow, pytest.mark.ray]


@pytest.mark.parametrize("dag_id", ["deferred", pytest.param("running", marks=pytest.mark.slow)])
def test_a_job_runs_once_and_its_log_is_in_the_task_log(airflow_home, ray_head, dag_id):
    airflow_home.trigger_dag(dag_id, "plain", {"entrypoint": "echo first; sleep 2; echo last"})
    airflow_home.wait_for_task(dag_id, "plain", "job", {"success", "failed"}, 90)

    jobs = ray_head.jobs(f"{dag_id}-job-g", "plain")
    assert [job["status"] for job in jobs.values()] == ["SUCCEEDED"]
    [submission_id] = jobs
    assert airflow_home.xcom(dag_id, "plain", "job") == {"submission_id": submission_id}
    logs = airflow_home.task_logs(dag_id, "plain", "job")
    assert logs.count('"first"') == 1
    assert logs.count('"last"') == 1


def test_the_token_is_written_nowhere(airflow_home, ray_head):
    airflow_home.trigger_dag("deferred", "secret", {"entrypoint": "env"})
    airflow_home.wait_for_task("deferred", "secret", "job", {"success"}, 90)
    token = ray_head.token.encode()
    # Logs, rendered fields, XComs and triggers: everything Airflow keeps lies in this folder, the database included.
    files = [path for path in airflow_home.folder.rglob("*") if path.is_file()]
    assert len(files) > 10
    assert [path.name for path in files if token in path.read_bytes()] == []
    assert token not in str(ray_head.jobs()).encode()
