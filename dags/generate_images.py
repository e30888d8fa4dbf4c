"""When pictures are generated: on the preset's schedule, a shard of the prompts a day if it says so, or with new experts."""

import pendulum
from airflow.sdk import DAG, chain

from ray_jobs.dag_task import TASK_DEFAULTS, PanguJobTask, job_params, schedule_of

JOBS = ("register_prompts", "generate_images")

with DAG(
    dag_id="generate_images",
    schedule=schedule_of("generate_images", "experts"),
    start_date=pendulum.datetime(2026, 1, 1),
    catchup=False,
    max_active_runs=1,
    default_args=TASK_DEFAULTS,
    params=job_params(*JOBS),
    tags=["pangu", "generation"],
    doc_md=__doc__,
):
    chain(
        PanguJobTask(job="register_prompts"),
        PanguJobTask(job="generate_images", inputs={"prompts": "register_prompts"}),
    )
