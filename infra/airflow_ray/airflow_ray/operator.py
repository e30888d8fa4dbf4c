"""The task: finds its attempt, hands the job to the trigger, collects the result, fires asset events on change."""

import asyncio
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.bases.operator import TRIGGER_FAIL_REPR
from pydantic import JsonValue

from airflow_ray.attempts import Found, find_job, last_cleared_try
from airflow_ray.connections import RayHook
from airflow_ray.endpoint import RayEndpoint
from airflow_ray.errors import RayJobFailedError, RayJobTimeoutError, RayUnreachableError
from airflow_ray.job import JobOutcome, JobStatus, Plan, Skip
from airflow_ray.job_log import JobLog
from airflow_ray.jobs_client import RayJobsClient
from airflow_ray.link import RayJobLink
from airflow_ray.outlets import emit_outlets
from airflow_ray.result_line import parse_result
from airflow_ray.task_key import TaskAttempt
from airflow_ray.trigger import RayJobTrigger
from airflow_ray.watch import JobWatch, WatchSettings, persist, stop_and_wait

if TYPE_CHECKING:
    from airflow.sdk import Context

BACKSTOP_S = 120.0
SUBMIT_GRACE_S = 4.0


class RayJobOperator(BaseOperator):
    """Runs one Ray job per attempt of the task, never two.

    entrypoint: shell command; runtime_env, env_vars, metadata: as in Ray's Jobs API, shown on both dashboards, so no
    place for secrets. address or ray_conn_id: the Ray dashboard (`endpoint.resolve_endpoint` has the order).
    timeout: of the whole attempt, deferred time included; execution_timeout counts too, whichever is less.
    stop_wait: how long a stopped job may take until STOPPED. result_prefix: the job may print one line
    `<prefix> {json}`; the last such line is its result.

    For subclasses: `plan` (what to run, or that there is nothing to), `collect` (the XCom), `asset_event` (whether the
    outlets changed), all called in the worker at run time.
    """

    template_fields: Sequence[str] = ("entrypoint", "runtime_env", "env_vars", "metadata", "address", "ray_conn_id")
    template_fields_renderers: Mapping[str, str] = {"entrypoint": "bash", "runtime_env": "json", "env_vars": "json"}
    operator_extra_links = (RayJobLink(),)
    trigger_class = RayJobTrigger
    ui_color = "#cfe8fc"

    def __init__(
        self,
        *,
        entrypoint: str = "",
        runtime_env: dict[str, Any] | None = None,
        env_vars: dict[str, str] | None = None,
        metadata: dict[str, str] | None = None,
        address: str | None = None,
        ray_conn_id: str | None = None,
        entrypoint_num_cpus: float | None = None,
        entrypoint_num_gpus: float | None = None,
        entrypoint_memory: int | None = None,
        entrypoint_resources: dict[str, float] | None = None,
        deferrable: bool = True,
        poll_interval: timedelta = timedelta(seconds=5),
        timeout: timedelta | None = None,
        stop_wait: timedelta = timedelta(seconds=30),
        unreachable_timeout: timedelta = timedelta(minutes=5),
        result_prefix: str | None = None,
        **kwargs: object,
    ) -> None:
        """Raise ValueError where a duration is not positive."""
        super().__init__(**kwargs)
        self.entrypoint = entrypoint
        self.runtime_env = runtime_env or {}
        self.env_vars = env_vars or {}
        self.metadata = metadata or {}
        self.address = address
        self.ray_conn_id = ray_conn_id
        self.entrypoint_num_cpus = entrypoint_num_cpus
        self.entrypoint_num_gpus = entrypoint_num_gpus
        self.entrypoint_memory = entrypoint_memory
        self.entrypoint_resources = entrypoint_resources
        self.deferrable = deferrable
        self.timeout = timeout
        self.result_prefix = result_prefix
        self.settings = WatchSettings(
            poll_interval_s=poll_interval.total_seconds(),
            stop_wait_s=stop_wait.total_seconds(),
            unreachable_timeout_s=unreachable_timeout.total_seconds(),
        )
        self.job_url = ""
        self._held: tuple[RayEndpoint, str] | None = None

    # What subclasses override

    def plan(self, context: "Context") -> Plan | Skip:
        """Return the job to submit, or Skip. Called only where a new job is needed, never for a re-attachment."""
        env_vars = {**self.runtime_env.get("env_vars", {}), **self.env_vars}
        runtime_env = {**self.runtime_env, "env_vars": env_vars} if env_vars else self.runtime_env
        return Plan(
            entrypoint=self.entrypoint,
            runtime_env=runtime_env,
            metadata=self.metadata,
            entrypoint_num_cpus=self.entrypoint_num_cpus,
            entrypoint_num_gpus=self.entrypoint_num_gpus,
            entrypoint_memory=self.entrypoint_memory,
            entrypoint_resources=self.entrypoint_resources,
        )

    def collect(self, context: "Context", job: JobOutcome, result: JsonValue) -> JsonValue:
        """Return the task's XCom: the parsed result line, or the submission id where no prefix was given."""
        return result if self.result_prefix else {"submission_id": job.submission_id}

    def asset_event(self, context: "Context", value: JsonValue) -> dict[str, Any] | None:
        """Return what the outlets' asset events carry as `extra`, or None for "nothing changed: no event".

        value: what `collect` returned. Here a mapping that says `"changed": false` fires nothing.
        """
        extra = dict(value) if isinstance(value, Mapping) else {}
        return None if extra.get("changed") is False else extra

    def make_client(self, endpoint: RayEndpoint) -> RayJobsClient:
        """Return the client to use; a subclass may add proxies or measurements."""
        return RayJobsClient(endpoint)

    # What Airflow calls

    def execute(self, context: "Context") -> JsonValue:
        """Find the attempt's job and follow it: deferred, or here where `deferrable` is off."""
        return self._attempt(context)

    def resume(self, context: "Context", event: dict[str, Any], job_url: str = "") -> JsonValue:
        """Go on after the trigger's event."""
        self.job_url = job_url
        return self._finish(context, JobOutcome.from_event(event))

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: "Context") -> JsonValue:
        """Stop the job first where Airflow gave the trigger up, crashed or timed out with its triggerer away."""
        if next_method == TRIGGER_FAIL_REPR:
            self.log.warning("The trigger was given up; stopping its Ray job")
            asyncio.run(self._stop_abandoned(self._endpoint(), TaskAttempt.from_context(context)))
        value: JsonValue = super().resume_execution(next_method, next_kwargs, context)
        return value

    def on_kill(self) -> None:
        """Stop the job this process follows: task failed, cleared or timed out while running."""
        if self._held is None:
            return
        endpoint, held_id = self._held

        async def stop() -> JobStatus:
            async with self.make_client(endpoint) as client:
                return await stop_and_wait(client, held_id, self.settings.stop_wait_s, appear_s=SUBMIT_GRACE_S)

        # Called from a signal handler inside a running event loop, so the loop that stops needs a thread of its own.
        # Airflow sends SIGKILL 5 s after SIGTERM: the request is out long before, the wait is for the timeout's sake.
        status: list[JobStatus] = []
        thread = threading.Thread(target=lambda: status.append(asyncio.run(stop())))
        thread.start()
        thread.join()
        self.log.info("Task was killed; Ray job %s is %s", held_id, status[0] if status else "unknown")

    # How it is done

    def _attempt(self, context: "Context") -> JsonValue:
        endpoint = self._endpoint()
        found = asyncio.run(self._find_job(endpoint, TaskAttempt.from_context(context)))
        if found.job is not None:
            return self._follow(context, endpoint, found, None)
        planned = self.plan(context)
        if isinstance(planned, Skip):
            self.log.info("Nothing to run: %s", planned.reason)
            emit_outlets(context, self.asset_event(context, planned.result) if planned.is_changed else None)
            return planned.result
        return self._follow(context, endpoint, found, planned)

    def _endpoint(self) -> RayEndpoint:
        return RayHook(self.ray_conn_id, self.address).get_conn()

    async def _find_job(self, endpoint: RayEndpoint, attempt: TaskAttempt) -> Found:
        cleared_try = last_cleared_try(max_tries=attempt.max_tries, retries=self.retries or 0)
        async with self.make_client(endpoint) as client:
            find = partial(
                find_job,
                client,
                attempt.key.submission_id,
                cleared_try=cleared_try,
                stop_wait_s=self.settings.stop_wait_s,
            )
            return await persist(find, self.settings.unreachable_timeout_s, self.log.info)

    async def _stop_abandoned(self, endpoint: RayEndpoint, attempt: TaskAttempt) -> None:
        found = await self._find_job(endpoint, attempt)
        if found.job is not None and found.job.status.is_active:
            async with self.make_client(endpoint) as client:
                status = await stop_and_wait(client, found.submission_id, self.settings.stop_wait_s)
            self.log.info("Ray job %s is %s", found.submission_id, status)

    def _follow(self, context: "Context", endpoint: RayEndpoint, found: Found, planned: Plan | None) -> JsonValue:
        attempt = TaskAttempt.from_context(context)
        if planned is not None:
            planned = replace(planned, metadata={**planned.metadata, **attempt.as_metadata()})
        self.job_url = f"{endpoint.address}/#/jobs/{found.submission_id}"
        is_over = found.job is not None and not found.job.status.is_active
        if self.deferrable and not is_over:
            self._hand_over(attempt, endpoint, found, planned)
        self._held = (endpoint, found.submission_id)
        outcome = asyncio.run(self._watch(attempt, endpoint, found, planned))
        self._held = None
        return self._finish(context, outcome)

    def _hand_over(self, attempt: TaskAttempt, endpoint: RayEndpoint, found: Found, planned: Plan | None) -> None:
        limits = [limit for limit in (self.timeout, self.execution_timeout) if limit is not None]
        # The trigger keeps the deadline itself, since Airflow's own trigger timeout stops no job; Airflow's is the
        # backstop for a triggerer that is away.
        backstop = timedelta(seconds=self.settings.stop_wait_s + BACKSTOP_S)
        trigger = self.trigger_class(
            submission_id=found.submission_id,
            plan=planned.as_request() if planned else None,
            task_key=attempt.key.as_fields(),
            try_number=attempt.try_number,
            deadline=(attempt.start_date + min(limits)).timestamp() if limits else None,
            # A triggerer's environment may differ from ours; an address in a connection is looked up there again.
            address=self.address or (None if self.ray_conn_id else endpoint.address),
            ray_conn_id=self.ray_conn_id,
            settings=asdict(self.settings),
            result_prefix=self.result_prefix,
        )
        self.defer(
            trigger=trigger,
            method_name="resume",
            kwargs={"job_url": self.job_url},
            timeout=min(limits) + backstop if limits else None,
        )

    async def _watch(
        self, attempt: TaskAttempt, endpoint: RayEndpoint, found: Found, planned: Plan | None
    ) -> JobOutcome:
        # Each attempt's log shows the job from its beginning: the attempt may have been re-attached to it.
        log = JobLog(self.log.info, result_prefix=self.result_prefix)
        async with self.make_client(endpoint) as client:
            watch = JobWatch(
                client,
                found.submission_id,
                plan=planned,
                try_number=attempt.try_number,
                deadline=(attempt.start_date + self.timeout).timestamp() if self.timeout else None,
                settings=self.settings,
                log=log,
                say=self.log.info,
            )
            return await watch.run()

    def _finish(self, context: "Context", job: JobOutcome) -> JsonValue:
        if job.status is JobStatus.SUCCEEDED:
            result = parse_result(job, self.result_prefix) if self.result_prefix else None
            value = self.collect(context, job, result)
            emit_outlets(context, self.asset_event(context, value))
            return value
        if job.is_timed_out:
            raise RayJobTimeoutError(f"Ray job {job.submission_id} ran out of time and is {job.status}")
        if job.is_unreachable:
            raise RayUnreachableError(f"Ray job {job.submission_id}: {job.message}")
        if job.status is JobStatus.STOPPED and job.is_adopted:
            # An earlier attempt had asked for this stop and it took effect only now: same as finding it STOPPED.
            self.log.info("Ray job %s of an earlier attempt was stopped; going on", job.submission_id)
            return self._attempt(context)
        raise RayJobFailedError(f"Ray job {job.submission_id} is {job.status}: {job.message}")
