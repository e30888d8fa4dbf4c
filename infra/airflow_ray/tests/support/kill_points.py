"""Operators and triggers that SIGKILL their own process at a named point, once per DAG run.

A run names its point in its run id (`<point>--anything`); the marker files under KILL_MARKERS say which were reached.
Only the calls to the Jobs API are wrapped: everything else is the shipped code.
"""

import os
import signal
from pathlib import Path

from airflow_ray.job import Plan, RayJob
from airflow_ray.jobs_client import RayJobsClient
from airflow_ray.operator import RayJobOperator
from airflow_ray.trigger import RayJobTrigger


def die_at(point: str, run_id: str) -> None:
    """Kill this process the first time the run reaches the point it named."""
    if not run_id.startswith(f"{point}--"):
        return
    marker = Path(os.environ["KILL_MARKERS"]) / run_id
    try:
        marker.touch(exist_ok=False)
    except FileExistsError:
        return
    os.kill(os.getpid(), signal.SIGKILL)


class KilledClient(RayJobsClient):
    """The Jobs API client with kill points around its calls."""

    run_id = ""
    _num_seen = 0

    async def submit(self, submission_id: str, plan: Plan) -> bool:
        die_at("before_submit", self.run_id)
        is_new = await super().submit(submission_id, plan)
        # Ray has the job; nobody on Airflow's side has heard of it yet.
        die_at("after_submit", self.run_id)
        return is_new

    async def find(self, submission_id: str) -> RayJob | None:
        job = await super().find(submission_id)
        if job is not None:
            self._num_seen += 1
            die_at("before_saved" if self._num_seen == 1 else "polling", self.run_id)
        return job


class KilledTrigger(RayJobTrigger):
    """A trigger whose triggerer dies."""

    def make_client(self, endpoint) -> RayJobsClient:
        client = KilledClient(endpoint)
        client.run_id = self.task_key["run_id"]
        return client


class KilledOperator(RayJobOperator):
    """A worker that dies, or whose trigger does."""

    trigger_class = KilledTrigger

    def execute(self, context):
        self._run_id = context["run_id"]
        return super().execute(context)

    def make_client(self, endpoint) -> RayJobsClient:
        client = KilledClient(endpoint)
        client.run_id = self._run_id
        return client

    def _hand_over(self, attempt, endpoint, found, planned):
        die_at("before_deferral", attempt.key.run_id)
        super()._hand_over(attempt, endpoint, found, planned)
