"""When pictures are evaluated and the site is published: nightly, and whenever there are new pictures."""

import pendulum
from airflow.sdk import DAG, AssetOrTimeSchedule, CronTriggerTimetable, chain

from ray_jobs.dag_task import TASK_DEFAULTS, PanguJobTask, artifact_asset, job_params, schedule_of

CRON = schedule_of("evaluate_nightly")
PICTURES = [artifact_asset("generated_images")]
JOBS = ("evaluate_images", "publish_dashboard")

with DAG(
    dag_id="evaluate_nightly",
    schedule=AssetOrTimeSchedule(timetable=CronTriggerTimetable(CRON, timezone="UTC"), assets=PICTURES)
    if CRON
    else PICTURES,
    start_date=pendulum.datetime(2026, 1, 1),
    catchup=False,
    max_active_runs=1,
    default_args=TASK_DEFAULTS,
    params=job_params(*JOBS),
    tags=["pangu", "evaluation"],
    doc_md=__doc__,
):
    chain(*(PanguJobTask(job=job) for job in JOBS))
