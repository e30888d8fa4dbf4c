"""Asset events fire on change alone, while the asset graph keeps its edges."""

import pytest
from processes import wait_until

pytestmark = [pytest.mark.airflow, pytest.mark.ray]


def run_producer(home, run_id: str, result: str) -> list[dict]:
    """Run the producer, whose job prints the result line; return the asset events of the run."""
    home.trigger_dag("produces", run_id, {"entrypoint": f"echo 'RESULT {result}'"})
    task = home.wait_for_task("produces", run_id, "job", {"success", "failed"}, 90)
    assert task["state"] == "success", home.task_logs("produces", run_id, "job")
    return home.get("/assets/events", source_dag_id="produces", source_run_id=run_id)["asset_events"]


def test_only_a_changed_result_fires_an_asset_event(airflow_home):
    assert run_producer(airflow_home, "unchanged", '{"digest": "a", "changed": false}') == []
    assert airflow_home.get("/dags/consumes/dagRuns")["total_entries"] == 0

    [event] = run_producer(airflow_home, "changed", '{"digest": "b", "changed": true}')
    assert event["extra"]["digest"] == "b"
    assert airflow_home.xcom("produces", "changed", "job") == {"digest": "b", "changed": True}
    wait_until(lambda: airflow_home.get("/dags/consumes/dagRuns")["total_entries"] == 1, 30, "the consumer's run")


def test_the_asset_graph_has_both_edges(airflow_home):
    [asset] = [asset for asset in airflow_home.get("/assets")["assets"] if asset["name"] == "subject"]
    assert [(task["dag_id"], task["task_id"]) for task in asset["producing_tasks"]] == [("produces", "job")]
    assert [dag["dag_id"] for dag in asset["scheduled_dags"]] == ["consumes"]
