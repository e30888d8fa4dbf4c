"""Asynchronous orders: a book of jobs, each followed in the background, with its events and pictures kept for a while.

One replica keeps the book, in memory. What it forgets (a restart, its age, its bounds) answers 404; the same order with the
same seed makes the same picture again.
"""

import asyncio
import base64
import logging
import secrets
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ray_jobs.service.refusal import Refusal, Refused, refuse
from ray_jobs.service.work import End, Event, Made, Started, Step, Work

LOG = logging.getLogger("ray.serve")

Follow = Callable[[Work], AsyncIterator[Event]]
"""The events of an order of one kind, wherever it is sampled."""

CANCELLED = Refusal(409, "cancelled", None, "cancelled")


@dataclass(frozen=True)
class Keeping:
    """How much the book holds. A finished job stays `keep_s`, less where the bounds ask for its place."""

    jobs: int = 512
    bytes: int = 256 * 2**20
    keep_s: float = 3600.0


@dataclass(eq=False)
class Job:
    """One asynchronous order. model: what it asked for, until the end says what it got."""

    id: str
    work: Work
    created: int
    events: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    status: str = "queued"
    step: int = 0
    steps: int = 0
    end: End | None = None
    ended_at: float | None = None
    task: asyncio.Task[None] | None = None

    @property
    def bytes(self) -> int:
        """What its pictures and previews take."""
        files = self.end.pictures if isinstance(self.end, Made) else ()
        previews = sum(len(text) for _, data in self.events for text in data.get("previews", ()))
        return previews + sum(len(file) for file in files if file is not None)

    def tell(self, name: str, data: dict[str, Any]) -> None:
        """Note an event for whoever listens now or comes later."""
        self.events.append((name, data))
        self.changed.set()
        self.changed = asyncio.Event()

    def view(self) -> dict[str, Any]:
        """The job as JSON."""
        seen: dict[str, Any] = {
            "id": self.id,
            "object": "image.job",
            "created": self.created,
            "status": self.status,
            "step": self.step,
            "steps": self.steps,
            "seed": self.work.seed,
            "events_url": f"/v1/jobs/{self.id}/events",
        }
        if isinstance(self.end, Refusal):
            seen |= self.end.body()
        if isinstance(self.end, Made):
            seen["result"] = picture_list(self.end, self.work, int(self.ended_at or self.created), self.id)
        return seen


def picture_list(made: Made, work: Work, created: int, job: str | None) -> dict[str, Any]:
    """OpenAI's answer. Pictures that the output filter blocked are left out and counted; job: where urls lead."""
    data: list[dict[str, Any]] = []
    for index, file in enumerate(made.pictures):
        if file is not None:
            where = {"url": f"/v1/jobs/{job}/images/{index}"} if job else {"b64_json": base64.b64encode(file).decode()}
            data.append({**where, "seed": work.seed + index})
    facts = {"created": created, "model": made.model, "size": made.size, "output_format": work.order.output_format}
    blocked = sum(file is None for file in made.pictures)
    return {**facts, "data": data, **({"blocked": blocked} if blocked else {})}


def refuse_all_blocked(end: End) -> End:
    """A refusal in OpenAI's words where the filter left no picture."""
    if isinstance(end, Made) and not any(end.pictures):
        return Refusal(400, "the output filter blocked every picture", None, "content_policy_violation")
    return end


class JobBook:
    """Every job that is remembered. Only its own tenant sees a job: for any other there is none of that name."""

    def __init__(self, follow: Mapping[str, Follow], keeping: Keeping | None = None) -> None:
        """follow: how orders of each kind are sampled."""
        self.follow = follow
        self.keeping = keeping or Keeping()
        self._jobs: OrderedDict[str, Job] = OrderedDict()

    async def open(self, work: Work, kind: str) -> dict[str, Any]:
        """Begin a job of a kind.

        Raises:
            Refused: 503 when the book is full of jobs that have not ended.
        """
        self._forget_old(room=1)
        if len(self._jobs) >= self.keeping.jobs:
            raise refuse(503, f"{len(self._jobs)} jobs are open")
        job = Job(f"job-{secrets.token_hex(12)}", work, int(time.time()))
        self._jobs[job.id] = job
        job.task = asyncio.create_task(self._run(job, self.follow[kind]))
        job.task.add_done_callback(lambda task: self._close(job, task))
        return job.view()

    async def view(self, tenant: str, name: str) -> dict[str, Any]:
        """A job. Refused, 404, if the tenant has none of that name."""
        return self._find(tenant, name).view()

    async def views(self, tenant: str) -> list[dict[str, Any]]:
        """The tenant's jobs, the newest first."""
        return [job.view() for job in reversed(self._jobs.values()) if job.work.tenant == tenant]

    async def listen(self, tenant: str, name: str, after: int = 0) -> AsyncIterator[tuple[int, str, dict[str, Any]]]:
        """(number, name, data) of every event from number `after` on, up to the end."""
        job = self._find(tenant, name)
        number = max(0, after)
        while True:
            changed = job.changed
            for kind, data in job.events[number:]:
                number += 1
                yield number, kind, data
            if job.end is not None and number >= len(job.events):
                return
            await changed.wait()

    async def cancel(self, tenant: str, name: str) -> dict[str, Any]:
        """Stop a job; one that has ended stays as it is."""
        job = self._find(tenant, name)
        if job.end is None and job.task is not None:
            job.task.cancel()
            self._finish(job, CANCELLED)
        return job.view()

    async def result(self, tenant: str, name: str) -> dict[str, Any]:
        """The pictures of a job once there are any. Refused with whatever it ended with instead."""
        async for _ in self.listen(tenant, name):
            pass
        job = self._find(tenant, name)
        if isinstance(job.end, Refusal):
            raise Refused(job.end)
        found: dict[str, Any] = job.view()["result"]
        return found

    async def picture(self, tenant: str, name: str, index: int) -> tuple[str, bytes]:
        """(format, file) of one picture. Refused, 404, if there is none."""
        job = self._find(tenant, name)
        files = job.end.pictures if isinstance(job.end, Made) else ()
        file = files[index] if 0 <= index < len(files) else None
        if file is None:
            raise refuse(404, f"images/{index}: there is no such picture")
        return job.work.order.output_format, file

    async def _run(self, job: Job, follow: Follow) -> None:
        async for event in follow(job.work):
            if isinstance(event, Started):
                job.status = "running"
                job.tell("started", {})
            elif isinstance(event, Step):
                job.step, job.steps = event.step, event.steps
                previews = {"previews": [base64.b64encode(file).decode() for file in event.previews]}
                facts = {"step": event.step, "steps": event.steps}
                job.tell("step", {**facts, **(previews if event.previews else {})})
            else:
                self._finish(job, refuse_all_blocked(event))

    def _close(self, job: Job, task: "asyncio.Task[None]") -> None:
        if job.end is None:
            why = None if task.cancelled() else task.exception()
            LOG.error("job %s ended without an end", job.id, exc_info=why)
            self._finish(job, Refusal(500, "the order ended without pictures; the service's log says why"))

    def _finish(self, job: Job, end: End) -> None:
        job.end, job.ended_at = end, time.time()
        job.status = "succeeded" if isinstance(end, Made) else "cancelled" if end is CANCELLED else "failed"
        job.tell(job.status, job.view())
        self._forget_old()

    def _find(self, tenant: str, name: str) -> Job:
        self._forget_old()
        job = self._jobs.get(name)
        if job is None or job.work.tenant != tenant:
            raise refuse(404, "there is no such job, or no longer", "id")
        return job

    def _forget_old(self, room: int = 0) -> None:
        """Forget what is older than it may be, then the oldest ended jobs while the bounds are passed."""
        now = time.time()
        ended = [job for job in self._jobs.values() if job.ended_at is not None]
        held = sum(job.bytes for job in ended)
        for job in ended:
            is_old = now - (job.ended_at or now) > self.keeping.keep_s
            if is_old or held > self.keeping.bytes or len(self._jobs) + room > self.keeping.jobs:
                held -= job.bytes
                del self._jobs[job.id]
