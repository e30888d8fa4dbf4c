"""When the training set is rebuilt: on the preset's schedule, from the URL list to styled, bucketed rows."""

import pendulum
from airflow.sdk import DAG, chain

from ray_jobs.dag_task import TASK_DEFAULTS, PanguJobTask, job_params, schedule_of

JOBS = ("register_url_list", "download_images", "score_images", "build_training_set")

with DAG(
    dag_id="rebuild_dataset",
    schedule=schedule_of("rebuild_dataset"),
    start_date=pendulum.datetime(2026, 1, 1),
    catchup=False,
    max_active_runs=1,
    default_args=TASK_DEFAULTS,
    params=job_params(*JOBS),
    tags=["pangu", "dataset"],
    doc_md=__doc__,
):
    chain(*(PanguJobTask(job=job) for job in JOBS))
