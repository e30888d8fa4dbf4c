"""When the experts are trained: whenever the training set has changed."""

import pendulum
from airflow.sdk import DAG, chain

from ray_jobs.dag_task import TASK_DEFAULTS, PanguJobTask, artifact_asset, job_params

JOBS = ("train_structure", "train_texture", "publish_experts")

with DAG(
    dag_id="train_experts",
    schedule=[artifact_asset("training_set")],
    start_date=pendulum.datetime(2026, 1, 1),
    catchup=False,
    max_active_runs=1,
    default_args=TASK_DEFAULTS,
    params=job_params(*JOBS),
    tags=["pangu", "training"],
    doc_md=__doc__,
):
    structure, texture, publish = (PanguJobTask(job=job) for job in JOBS)
    chain([structure, texture], publish)
