"""From a plan to an ended job: submit unless it exists, follow it, stop it when its time is up.

The trigger and the synchronous operator both run this, so they behave alike.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TypeVar

from airflow_ray.errors import RayUnreachableError
from airflow_ray.job import JobOutcome, JobStatus, Plan, RayJob
from airflow_ray.job_log import JobLog
from airflow_ray.jobs_client import RayJobsClient

T = TypeVar("T")
RETRY_INTERVAL_S = 2.0
STOP_POLL_INTERVAL_S = 0.5
LOG_DRAIN_S = 60.0
"""How long an ended job's log is read on; the Jobs API closes it about 3 s after the job, later under load."""


@dataclass(frozen=True, kw_only=True)
class WatchSettings:
    """How patiently a job is watched; all in seconds."""

    poll_interval_s: float = 5.0
    stop_wait_s: float = 30.0
    """How long a stopped job may take to be STOPPED; Ray's own RAY_JOB_STOP_WAIT_TIME_S must be less."""
    unreachable_timeout_s: float = 300.0
    """How long the Jobs API may be away before the attempt fails."""

    def __post_init__(self) -> None:
        """Refuse settings that would spin or never give up."""
        for name in ("poll_interval_s", "stop_wait_s", "unreachable_timeout_s"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}: got {getattr(self, name)!r}, expected more than 0 seconds")


class JobWatch:
    """One job under one watcher.

    `plan` is None where the job must already exist; `deadline` is in seconds since the epoch.
    """

    def __init__(
        self,
        client: RayJobsClient,
        submission_id: str,
        *,
        plan: Plan | None,
        try_number: int,
        deadline: float | None,
        settings: WatchSettings,
        log: JobLog,
        say: Callable[[str], None],
    ) -> None:
        """Take the job's log reader and `say`, which tells the task's log what the watch does."""
        self._client = client
        self._submission_id = submission_id
        self._plan = plan
        self._try_number = try_number
        self._deadline = deadline
        self._settings = settings
        self._log = log
        self._say = say
        self._job: RayJob | None = None

    async def run(self) -> JobOutcome:
        """Return how the job ended, or that its time was up, or that the Jobs API stayed away too long.

        Raises RayRefusedError where the Jobs API refuses the job or the token.
        """
        try:
            await persist(self._ensure_submitted, self._settings.unreachable_timeout_s, self._say)
            async with self._following_log() as follower:
                return await self._poll(follower)
        except RayUnreachableError as error:
            return self._outcome(JobStatus.RUNNING, str(error), is_unreachable=True)

    async def _ensure_submitted(self) -> None:
        self._job = await self._client.find(self._submission_id)
        if self._job is None and self._plan is not None:
            # Shielded: a cancelled request may still reach Ray, and then `on_kill` must find a job to stop.
            request = asyncio.ensure_future(self._client.submit(self._submission_id, self._plan))
            try:
                is_new = await asyncio.shield(request)
            except asyncio.CancelledError:
                await asyncio.wait({request})
                raise
            self._say(f"{'Submitted' if is_new else 'Found'} Ray job {self._submission_id}")
        elif self._job is not None:
            self._say(f"Attached to Ray job {self._submission_id}, {self._job.status}")

    @asynccontextmanager
    async def _following_log(self) -> AsyncIterator["_Follower"]:
        follower = _Follower(self._client, self._submission_id, self._log, self._say)
        try:
            yield follower
        finally:
            await follower.cancel()

    async def _poll(self, follower: "_Follower") -> JobOutcome:
        while True:
            self._job = await persist(self._find, self._settings.unreachable_timeout_s, self._say)
            if self._job is None:
                return self._outcome(JobStatus.LOST, "Ray no longer knows the job: its head may have been replaced")
            if not self._job.status.is_active:
                await follower.drain()
                return self._outcome(self._job.status, self._job.message)
            remaining_s = self._settings.poll_interval_s
            if self._deadline is not None:
                if time.time() >= self._deadline:
                    return await self._time_out(follower)
                remaining_s = min(remaining_s, self._deadline - time.time())
            await follower.wait(max(remaining_s, 0.01))

    async def _find(self) -> RayJob | None:
        return await self._client.find(self._submission_id)

    async def _time_out(self, follower: "_Follower") -> JobOutcome:
        self._say("Time is up: stopping the Ray job")
        status = await stop_and_wait(self._client, self._submission_id, self._settings.stop_wait_s)
        await follower.drain()
        return self._outcome(status, "stopped by its timeout", is_timed_out=True)

    def _outcome(
        self, status: JobStatus, message: str, *, is_timed_out: bool = False, is_unreachable: bool = False
    ) -> JobOutcome:
        return JobOutcome(
            submission_id=self._submission_id,
            status=status,
            message=message,
            result_line=self._log.result_line,
            is_adopted=self._job is not None and self._job.try_number != self._try_number,
            is_timed_out=is_timed_out,
            is_unreachable=is_unreachable,
        )


class _Follower:
    """The log reader beside the poll loop; begins again after the Jobs API was away."""

    def __init__(self, client: RayJobsClient, submission_id: str, log: JobLog, say: Callable[[str], None]) -> None:
        self._say = say
        self._client = client
        self._submission_id = submission_id
        self._log = log
        self._task = self._start()

    def _start(self) -> asyncio.Task[bool]:
        return asyncio.create_task(self._log.follow(self._client, self._submission_id))

    async def wait(self, timeout_s: float) -> None:
        """Return after timeout_s, or as soon as the log ends, which it does shortly after the job."""
        if self._task.done():
            self._task.result()
            await asyncio.sleep(min(timeout_s, RETRY_INTERVAL_S))
            self._task = self._start()
            return
        await asyncio.wait({self._task}, timeout=timeout_s)

    async def drain(self) -> None:
        """Let the reader reach the end of an ended job's log."""
        give_up_at = time.monotonic() + LOG_DRAIN_S
        while True:
            await asyncio.wait({self._task}, timeout=max(give_up_at - time.monotonic(), 0))
            if self._task.done() and self._task.result():
                return
            if time.monotonic() >= give_up_at:
                self._say("The end of the Ray job's log could not be read")
                return
            await asyncio.sleep(RETRY_INTERVAL_S)
            self._task = self._start()

    async def cancel(self) -> None:
        """End the reader."""
        self._task.cancel()
        with suppress(asyncio.CancelledError, Exception):
            await self._task


async def persist(call: Callable[[], Awaitable[T]], timeout_s: float, say: Callable[[str], None]) -> T:
    """Return the call's result, repeating it while the Jobs API is away; raise RayUnreachableError after timeout_s."""
    give_up_at = time.monotonic() + timeout_s
    is_told = False
    while True:
        try:
            return await call()
        except RayUnreachableError as error:
            if time.monotonic() >= give_up_at:
                raise RayUnreachableError(f"no answer for {timeout_s:g} s; last: {error}") from error
            if not is_told:
                say(f"The Ray dashboard does not answer; trying for {timeout_s:g} s: {error}")
                is_told = True
        await asyncio.sleep(min(RETRY_INTERVAL_S, max(give_up_at - time.monotonic(), 0.01)))


async def stop_and_wait(
    client: RayJobsClient, submission_id: str, wait_s: float, *, appear_s: float = 0.0
) -> JobStatus:
    """Stop the job and return its state once it ended, or its last known one after wait_s.

    Asks again while the job is active: a stop that arrives before the job's supervisor has started is lost. A job that
    does not exist is waited for during appear_s, for callers that may have a request to submit it under way.
    """
    start = time.monotonic()
    give_up_at = start + wait_s
    status = JobStatus.RUNNING
    while True:
        with suppress(RayUnreachableError):
            await client.stop(submission_id)
            job = await client.find(submission_id)
            status = job.status if job else JobStatus.LOST
            is_awaited = job is None and time.monotonic() < start + appear_s
            if not status.is_active and not is_awaited:
                return status
        if time.monotonic() >= give_up_at:
            return status
        await asyncio.sleep(STOP_POLL_INTERVAL_S)
