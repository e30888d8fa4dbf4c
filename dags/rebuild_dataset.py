"""When the training set is rebuilt: daily, from the URL list to styled, bucketed rows."""

from datetime import timedelta

import pendulum
from airflow.sdk import DAG, chain

from ray_jobs.dag_task import TASK_DEFAULTS, PanguJobTask, job_params

JOBS = ("register_url_list", "download_images", "score_images", "build_training_set")

with DAG(
    dag_id="rebuild_dataset",
    schedule=timedelta(days=1),
    start_date=pendulum.datetime(2026, 1, 1),
    catchup=False,
    max_active_runs=1,
    default_args=TASK_DEFAULTS,
    params=job_params(*JOBS),
    tags=["pangu", "dataset"],
    doc_md=__doc__,
):
    chain(*(PanguJobTask(job=job) for job in JOBS))
