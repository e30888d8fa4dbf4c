"""The deferred half of a task: submits its job, watches it from the triggerer, stops it with the task."""

from collections.abc import AsyncIterator
from typing import Any

from airflow.sdk.bases.xcom import BaseXCom
from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_ray.connections import RayHook
from airflow_ray.endpoint import RayEndpoint
from airflow_ray.job import Plan
from airflow_ray.job_log import JobLog
from airflow_ray.jobs_client import RayJobsClient
from airflow_ray.watch import JobWatch, WatchSettings, stop_and_wait

LOG_POSITION_KEY = "ray_log_position"
KILL_WAIT_S = 25.0
"""Below Airflow's bound on a trigger's `on_kill`, 30 s."""


class RayJobTrigger(BaseTrigger):
    """Submits the job unless it exists and fires one event when it has ended (`JobOutcome.as_event`).

    The job is submitted here and not by the worker, so that there is never a job without somebody who will stop it: a
    task that is failed or cleared before the triggerer takes it up has not started one. A restart of the triggerer
    leaves the job alone; the next triggerer finds it under its id and goes on with its log where the last one stopped.
    """

    def __init__(
        self,
        *,
        submission_id: str,
        plan: dict[str, Any] | None,
        task_key: dict[str, Any],
        try_number: int,
        deadline: float | None,
        address: str | None,
        ray_conn_id: str | None,
        settings: dict[str, float],
        result_prefix: str | None,
    ) -> None:
        """Take JSON values alone: Airflow stores them between triggerers."""
        super().__init__()
        self.submission_id = submission_id
        self.plan = plan
        self.task_key = task_key
        self.try_number = try_number
        self.deadline = deadline
        self.address = address
        self.ray_conn_id = ray_conn_id
        self.settings = settings
        self.result_prefix = result_prefix

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and arguments; the token is not among them."""
        kind = type(self)
        return f"{kind.__module__}.{kind.__qualname__}", {
            "submission_id": self.submission_id,
            "plan": self.plan,
            "task_key": self.task_key,
            "try_number": self.try_number,
            "deadline": self.deadline,
            "address": self.address,
            "ray_conn_id": self.ray_conn_id,
            "settings": self.settings,
            "result_prefix": self.result_prefix,
        }

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Watch the job to its end."""
        async with self.make_client(await self._endpoint()) as client:
            watch = JobWatch(
                client,
                self.submission_id,
                plan=Plan.from_request(self.plan) if self.plan else None,
                try_number=self.try_number,
                deadline=self.deadline,
                settings=WatchSettings(**self.settings),
                log=self._job_log(),
                say=self.log.info,
            )
            outcome = await watch.run()
        yield TriggerEvent(outcome.as_event())

    async def on_kill(self) -> None:
        """Stop the job: the user failed, cleared or marked the deferred task."""
        async with self.make_client(await self._endpoint()) as client:
            status = await stop_and_wait(client, self.submission_id, KILL_WAIT_S)
        self.log.info("Task was killed; Ray job %s is %s", self.submission_id, status)

    def make_client(self, endpoint: RayEndpoint) -> RayJobsClient:
        """Return the client to use; a subclass may add proxies or measurements."""
        return RayJobsClient(endpoint)

    async def _endpoint(self) -> RayEndpoint:
        return await RayHook(self.ray_conn_id, self.address).aget_conn()

    def _job_log(self) -> JobLog:
        # An XCom, since it outlives the triggerer and Airflow drops it when the next attempt begins.
        async def load() -> int:
            return int(await BaseXCom.aget_one(key=LOG_POSITION_KEY, **self.task_key) or 0)

        async def save(position: int) -> None:
            await BaseXCom.aset(LOG_POSITION_KEY, position, **self.task_key)

        return JobLog(self.log.info, load=load, save=save, result_prefix=self.result_prefix)
