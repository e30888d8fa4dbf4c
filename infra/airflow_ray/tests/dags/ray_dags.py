"""DAGs over which the end-to-end tests run: each run brings its command in its conf."""

from datetime import timedelta

from airflow.sdk import DAG, Asset
from airflow_ray.operator import RayJobOperator
from kill_points import KilledOperator

COMMAND = "{{ dag_run.conf['entrypoint'] }}"
LOOK_OFTEN = {"poll_interval": timedelta(seconds=1), "stop_wait": timedelta(seconds=30), "result_prefix": None}
RETRIES = {"retries": 3, "retry_delay": timedelta(seconds=1)}
SUBJECT = Asset("subject", uri="x-test://subject")


def define(dag_id: str, operator=RayJobOperator, **settings) -> None:
    """Define a DAG of one task named `job`."""
    with DAG(dag_id, schedule=None, max_active_runs=16) as dag:
        operator(task_id="job", entrypoint=COMMAND, **{**LOOK_OFTEN, **settings})
    globals()[dag_id] = dag


define("deferred")
define("running", deferrable=False)
define("retried_deferred", **RETRIES)
define("retried_running", deferrable=False, **RETRIES)
define("killed_deferred", KilledOperator, **RETRIES)
define("killed_running", KilledOperator, deferrable=False, **RETRIES)
define("timed_deferred", execution_timeout=timedelta(seconds=40))
define("timed_running", deferrable=False, execution_timeout=timedelta(seconds=40))
define("timed_job", timeout=timedelta(seconds=40), deferrable=False)
define("produces", outlets=[SUBJECT], result_prefix="RESULT")

with DAG("consumes", schedule=[SUBJECT]) as consumes:
    RayJobOperator(task_id="job", entrypoint="echo consumed", **LOOK_OFTEN)
