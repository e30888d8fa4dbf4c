"""When the prompt enhancer is trained: on the preset's schedule, or by hand once there are other experts to write for."""

import pendulum
from airflow.sdk import DAG, chain

from ray_jobs.dag_task import TASK_DEFAULTS, PanguJobTask, job_params, schedule_of

JOBS = ("register_pairs", "train_enhancer", "raft_enhancer", "publish_enhancement", "publish_enhancer")

with DAG(
    dag_id="train_enhancer",
    schedule=schedule_of("train_enhancer"),
    start_date=pendulum.datetime(2026, 1, 1),
    catchup=False,
    max_active_runs=1,
    default_args=TASK_DEFAULTS,
    params=job_params(*JOBS),
    tags=["pangu", "enhancer"],
    doc_md=__doc__,
):
    chain(*(PanguJobTask(job=job) for job in JOBS))
