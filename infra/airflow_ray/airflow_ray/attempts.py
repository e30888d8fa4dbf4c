"""Which job belongs to this attempt of a task: one to go on with, or the next generation.

A generation is one job that ended without giving this task its result. The rules, from the Jobs API alone:

- no job under generation g: g is new;
- PENDING or RUNNING: re-attach; SUCCEEDED: its result is ours, even if the worker died before taking it;
- FAILED or STOPPED: the next generation;
- submitted before the task was last **cleared**: superseded. A clear asks for a new run, so such a job is stopped if
  it still runs, and even its success does not count.

Airflow tells a clear from a retry by arithmetic: clearing sets `max_tries` to `try_number + retries`, while a retry
leaves it at `retries`. So `max_tries - retries` is the number of the last attempt before the clear (0 if there was
none), and every job names the attempt that submitted it in its metadata.
"""

from collections.abc import Callable
from dataclasses import dataclass

from airflow_ray.job import JobStatus, RayJob
from airflow_ray.jobs_client import RayJobsClient
from airflow_ray.watch import stop_and_wait


@dataclass(frozen=True)
class Found:
    """The generation to go on with, and its job if Ray has one."""

    generation: int
    submission_id: str
    job: RayJob | None


def last_cleared_try(*, max_tries: int, retries: int) -> int:
    """Return the number of the last attempt before the task was cleared; 0 if it never was."""
    return max(0, max_tries - retries)


async def find_job(
    client: RayJobsClient, id_of: Callable[[int], str], *, cleared_try: int, stop_wait_s: float
) -> Found:
    """Return the generation to go on with; stops a superseded job that still runs and waits until it ended.

    id_of: generation -> submission id. Raises RayUnreachableError or RayRefusedError.
    """
    generation = 0
    while True:
        submission_id = id_of(generation)
        job = await client.find(submission_id)
        if job is None:
            return Found(generation, submission_id, None)
        is_superseded = 0 < job.try_number <= cleared_try
        if is_superseded and job.status.is_active:
            await stop_and_wait(client, submission_id, stop_wait_s)
        if not is_superseded and (job.status.is_active or job.status is JobStatus.SUCCEEDED):
            return Found(generation, submission_id, job)
        generation += 1
