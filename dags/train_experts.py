"""When the experts are trained: whenever the training set has changed."""

import pendulum
from airflow.sdk import DAG, chain

from ray_jobs.dag_task import TASK_DEFAULTS, PanguJobTask, artifact_asset, job_params, trains_shared_model

EXPERTS = ("train_structure", "train_texture")
SHARED = ("train_shared",) if trains_shared_model() else ()
JOBS = (*SHARED, *EXPERTS, "publish_experts")

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
    experts = [PanguJobTask(job=job) for job in EXPERTS]
    chain(*(PanguJobTask(job=job) for job in SHARED), experts, PanguJobTask(job="publish_experts"))
