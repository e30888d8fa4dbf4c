"""One job of the chain as an Airflow task: find its version key, skip if it is stored, else submit one Ray job.

Imported by DAG files, so the heavy parts (store, versions) are imported when a task runs.
"""

import json
import os
import shlex
import sys
from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import Asset, Param
from airflow_ray.job import JobOutcome, Plan, Skip
from airflow_ray.operator import RayJobOperator
from pydantic import JsonValue

from ray_jobs.artifacts import ARTIFACTS, JOBS
from ray_jobs.config import load_preset
from ray_jobs.job_configs import CONFIGS

if TYPE_CHECKING:
    from airflow.sdk import Context

PRESET_VARIABLE = "PANGU_PRESET"
CONNECTION_VARIABLE = "PANGU_RAY_CONN_ID"
POOL = "default_pool"
RESULT_PREFIX = "PANGU_RESULT"

TASK_DEFAULTS: dict[str, Any] = {
    "owner": "pangu",
    "retries": 2,
    "retry_delay": timedelta(seconds=30),
    "execution_timeout": timedelta(hours=12),
    "pool": POOL,
}
"""What Airflow leaves open and a rebuild on a schedule needs."""


def artifact_asset(artifact: str) -> Asset:
    """The Airflow Asset of an artifact; an event of it means that the artifact's rows have changed."""
    return Asset(name=artifact, uri=f"pangu://artifact/{artifact}", extra={"holds": ARTIFACTS[artifact].holds})


def schedule_of(dag_id: str) -> str | None:
    """When the preset wants a DAG to run (cron text), or None."""
    return load_preset(os.environ.get(PRESET_VARIABLE, "sample")).schedules.get(dag_id)


def trains_shared_model() -> bool:
    """Whether the preset's experts branch from a shared model that is trained first."""
    jobs = load_preset(os.environ.get(PRESET_VARIABLE, "sample")).jobs
    return any(jobs[job].get("init") == "shared" for job in ("train_structure", "train_texture"))


def job_params(*jobs: str) -> dict[str, Param]:
    """The trigger form: one object a job, checked against the schema of the job's config."""
    params = {}
    for job in jobs:
        fields = "; ".join(
            f"{name}: {field.description}" if field.description else name
            for name, field in CONFIGS[job].model_fields.items()
        )
        params[job] = Param(
            {}, type="object", title=job, description=f"{JOBS[job].does}. Keys over the preset: {fields}"
        )
    return params


class PanguJobTask(RayJobOperator):
    """Runs ``pangu run JOB`` on the Ray cluster, with exact input versions, unless the version is already there."""

    def __init__(self, *, job: str, **kwargs: Any) -> None:  # noqa: ANN401 the base operator's own arguments
        """Take a job of the chain; its artifact is the task's outlet."""
        if job not in JOBS:
            raise ValueError(f"job: {job!r} is unknown; accepted are {', '.join(JOBS)}")
        defaults: dict[str, Any] = {
            "task_id": job,
            "doc_md": JOBS[job].does,
            "outlets": [artifact_asset(JOBS[job].gives)],
            "ray_conn_id": os.environ.get(CONNECTION_VARIABLE),
            "poll_interval": timedelta(seconds=1),
            "result_prefix": RESULT_PREFIX,
        }
        super().__init__(**{**defaults, **kwargs})
        self.job = job

    def plan(self, context: "Context") -> Plan | Skip:
        """Resolve config and inputs to a version key; skip when the store has it."""
        from ray_jobs.config import job_settings
        from ray_jobs.job import find_finished, plan_job
        from ray_jobs.store import Store

        store = Store.from_environment()
        params: Mapping[str, Any] = context["params"]
        settings = job_settings(self.job, os.environ.get(PRESET_VARIABLE, "sample"), params.get(self.job) or {})
        planned = plan_job(self.job, settings, {}, store)
        finished = find_finished(planned, store)
        if finished is not None:
            reason = f"{planned.job.gives}@{planned.key} is already in {store.uri}"
            return Skip(reason=reason, result=json.loads(finished.to_json()), is_changed=finished.changed)
        command = [sys.executable, "-m", "ray_jobs.cli", "run", self.job, "--store", store.uri]
        command += ["--settings", json.dumps(settings)]
        for artifact, manifest in planned.inputs.items():
            command += ["--input", f"{artifact}={manifest.key}"]
        metadata = {"job": self.job, "artifact": planned.job.gives, "key": planned.key}
        return Plan(entrypoint=shlex.join(command), metadata=metadata)

    def collect(self, context: "Context", job: JobOutcome, result: JsonValue) -> JsonValue:
        """The version the job made: artifact, key, digest, and whether the digest is new."""
        return result
