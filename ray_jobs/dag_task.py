"""One job of the chain as an Airflow task: find its version key, skip if it is stored, else submit one Ray job.

Imported by DAG files, so the heavy parts (store, versions) are imported when a task runs.
"""

import json
import os
import shlex
import sys
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import Asset, AssetOrTimeSchedule, CronTriggerTimetable, Param
from airflow_ray.job import JobOutcome, Plan, Skip
from airflow_ray.operator import RayJobOperator
from pydantic import JsonValue

from ray_jobs.artifacts import ARTIFACTS, JOBS, artifact_of
from ray_jobs.config import Preset, check_settings, load_preset, merge_settings
from ray_jobs.job_configs import CONFIGS
from ray_jobs.moments import day_number, in_utc
from ray_jobs.trigger_form import form_of, settings_of

if TYPE_CHECKING:
    from airflow.sdk import Context

    from ray_jobs.store import Store

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


def own_preset() -> Preset:
    """The preset of this Airflow."""
    return load_preset(os.environ.get(PRESET_VARIABLE, "sample"))


def schedule_of(dag_id: str, *artifacts: str) -> Any:  # noqa: ANN401 whatever a DAG's schedule may be
    """When the preset wants a DAG to run (cron text, UTC) and whenever one of the artifacts has changed."""
    cron = own_preset().schedules.get(dag_id)
    assets = [artifact_asset(artifact) for artifact in artifacts]
    if cron and assets:
        return AssetOrTimeSchedule(timetable=CronTriggerTimetable(cron, timezone="UTC"), assets=assets)
    return CronTriggerTimetable(cron, timezone="UTC") if cron else assets or None


def trains_shared_model() -> bool:
    """Whether the preset's experts branch from a shared model that is trained first."""
    jobs = own_preset().jobs
    return any(jobs[job].get("init") == "shared" for job in ("train_structure", "train_texture"))


def job_params(*jobs: str, variant: str = "") -> dict[str, Param]:
    """The trigger form of a DAG: every setting of these jobs, with the preset's values."""
    return form_of(jobs, own_preset(), variant)


def moment_of(context: "Context") -> str:
    """What a run is for: its logical date or, of a run without one, when it was due (`in_utc`)."""
    run: Any = context["dag_run"]
    moment: datetime = run.logical_date or run.run_after
    return in_utc(moment.isoformat())


def night_of(context: "Context") -> str:
    """The night that a run counts as: its logical date or, of runs without one, their day, however many there are."""
    run: Any = context["dag_run"]
    return moment_of(context) if run.logical_date else in_utc(moment_of(context)[:10])


class PanguJobTask(RayJobOperator):
    """Runs ``pangu run JOB`` on the Ray cluster, with exact input versions, unless the version is already there.

    inputs: name of an input -> the task of this run that gave it, or ``@alias`` as of the run's logical date. dated:
    whether the other inputs are taken as of that date too (or the first there is) instead of the newest.
    """

    def __init__(
        self,
        *,
        job: str,
        inputs: Mapping[str, str] | None = None,
        dated: bool = False,
        variant: str = "",
        **kwargs: Any,  # noqa: ANN401 the base operator's own arguments
    ) -> None:
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
        self.job, self.job_inputs, self.dated, self.variant = job, dict(inputs or {}), dated, variant

    def plan(self, context: "Context") -> Plan | Skip:
        """Resolve config and inputs to a version key; skip when the store has it."""
        from ray_jobs.job import find_finished, plan_job
        from ray_jobs.store import Store

        store = Store.from_environment()
        settings = self.job_settings(context)
        planned = plan_job(self.job, settings, self.references(context, settings, store), store)
        finished = find_finished(planned, store)
        if finished is not None:
            reason = f"{planned.job.gives}@{planned.key} is already in {store.uri}"
            return Skip(reason=reason, result=json.loads(finished.to_json()), is_changed=finished.changed)
        command = [sys.executable, "-m", "ray_jobs.cli", "run", self.job, "--store", store.uri]
        command += ["--settings", json.dumps(settings)]
        for name, manifest in planned.inputs.items():
            command += ["--input", f"{name}={manifest.key}"]
        metadata = {"job": self.job, "artifact": planned.job.gives, "key": planned.key}
        return Plan(entrypoint=shlex.join(command), metadata=metadata)

    def job_settings(self, context: "Context") -> dict[str, Any]:
        """Preset, then the form, then what the logical date decides."""
        preset = own_preset()
        moment = moment_of(context)
        settings = merge_settings(preset.settings(self.job, self.variant), settings_of(self.job, context["params"]))
        settings = merge_settings(settings, preset.task_settings(self.task_id, self.variant))
        if "night" in CONFIGS[self.job].model_fields:
            settings["night"] = night_of(context)
        if settings.get("num_shards", 1) > 1 and settings.get("shard") is None:
            settings["shard"] = day_number(moment) % settings["num_shards"]
        check_settings(self.job, settings)
        return settings

    def references(self, context: "Context", settings: Mapping[str, Any], store: "Store") -> dict[str, str]:
        """The exact version of every input that this run decides; the newest of the others is the planner's business."""
        from ray_jobs.versions import Versions

        versions, moment = Versions(store), moment_of(context)
        job, config = JOBS[self.job], check_settings(self.job, settings)
        found = {}
        for name in (*job.takes, *config.wanted_inputs(job.optional)):
            artifact, given = artifact_of(name), self.job_inputs.get(name)
            if given is None and self.dated:
                found[name] = f"{artifact}@{versions.as_of_or_first(artifact, moment).key}"
            elif given is not None and given.startswith("@"):
                found[name] = f"{artifact}@{versions.as_of(artifact, moment, given[1:]).key}"
            elif given is not None:
                result: Any = context["ti"].xcom_pull(task_ids=given)
                found[name] = f"{artifact}@{result['key']}"
        return found

    def collect(self, context: "Context", job: JobOutcome, result: JsonValue) -> JsonValue:
        """The version the job made: artifact, key, digest, and whether the digest is new."""
        return result
