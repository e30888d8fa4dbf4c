"""When pictures are generated: whenever there are new experts."""

import pendulum
from airflow.sdk import DAG, chain

from ray_jobs.dag_task import TASK_DEFAULTS, PanguJobTask, artifact_asset, job_params

JOBS = ("register_prompts", "generate_images")

with DAG(
    dag_id="generate_images",
    schedule=[artifact_asset("experts")],
    start_date=pendulum.datetime(2026, 1, 1),
    catchup=False,
    max_active_runs=1,
    default_args=TASK_DEFAULTS,
    params=job_params(*JOBS),
    tags=["pangu", "generation"],
    doc_md=__doc__,
):
    chain(*(PanguJobTask(job=job) for job in JOBS))
