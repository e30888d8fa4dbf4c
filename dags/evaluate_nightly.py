"""When models are evaluated: nightly, and whenever there are new pictures.

Champion and candidate, as their aliases stood at the logical date, draw the fixed evaluation set with fixed seeds; what a
model has drawn before is not drawn again. Both are evaluated and compared, the history and the site are published, alarms
are told, and the gate decides on the champion's succession. A backfill in any order ends at the same history.
"""

import pendulum
from airflow.sdk import DAG, chain

from ray_jobs.dag_task import TASK_DEFAULTS, PanguJobTask, job_params, schedule_of
from ray_jobs.nightly_tasks import PromoteCandidate, RaiseAlarms

JOBS = (
    "register_prompts",
    "generate_images",
    "evaluate_images",
    "compare_models",
    "write_history",
    "publish_dashboard",
)
MODELS = ("champion", "candidate")

with DAG(
    dag_id="evaluate_nightly",
    schedule=schedule_of("evaluate_nightly", "generated_images"),
    start_date=pendulum.datetime(2026, 1, 1),
    catchup=False,
    max_active_runs=1,
    default_args=TASK_DEFAULTS,
    params=job_params(*JOBS, variant="nightly"),
    tags=["pangu", "evaluation"],
    doc_md=__doc__,
):
    steps = [PanguJobTask(job="register_prompts", variant="nightly", outlets=[])]
    for model in MODELS:
        pictures = {"prompts": "register_prompts", "experts": f"@{model}"}
        numbers = {"generated_images": f"generate_{model}"}
        steps += [
            PanguJobTask(
                job="generate_images", task_id=f"generate_{model}", inputs=pictures, variant="nightly", outlets=[]
            ),
            PanguJobTask(
                job="evaluate_images", task_id=f"evaluate_{model}", inputs=numbers, variant="nightly", dated=True
            ),
        ]
    compared = {f"{model}:metrics": f"evaluate_{model}" for model in MODELS}
    chain(
        *steps,
        PanguJobTask(job="compare_models", inputs=compared, variant="nightly"),
        PanguJobTask(job="write_history", variant="nightly"),
        PanguJobTask(job="publish_dashboard", inputs={"history": "write_history"}, variant="nightly"),
        RaiseAlarms(history_task="write_history"),
        PromoteCandidate(night_task="compare_models"),
    )
