"""When each style is swept over its scales: on the preset's schedule, or by hand, on the newest prompts and experts."""

import pendulum
from airflow.sdk import DAG

from ray_jobs.dag_task import TASK_DEFAULTS, PanguJobTask, job_params, schedule_of

JOBS = ("sweep_styles",)

with DAG(
    dag_id="sweep_styles",
    schedule=schedule_of("sweep_styles"),
    start_date=pendulum.datetime(2026, 1, 1),
    catchup=False,
    max_active_runs=1,
    default_args=TASK_DEFAULTS,
    params=job_params(*JOBS),
    tags=["pangu", "evaluation"],
    doc_md=__doc__,
):
    PanguJobTask(job="sweep_styles")
