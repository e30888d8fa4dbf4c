"""The model's replica: one queue, one engine, and an eye on the alias that says which version the engine should be."""

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import Any, Protocol

from ray_jobs.errors import JobError
from ray_jobs.service.metrics import QueueMetrics
from ray_jobs.service.refusal import Refused
from ray_jobs.service.work import End, Event, Work
from ray_jobs.service.work_queue import Engine, Limits, WorkQueue

LOG = logging.getLogger("ray.serve")


class ServedEngine(Engine, Protocol):
    """An engine that says what it can do; offer: a pydantic model, as `Offer`."""

    offer: Any


class Loader(Protocol):
    """Finds the version to serve and loads it."""

    def find(self) -> str:
        """The key of the version to serve now; a JobError or OSError where the store does not say."""
        ...

    def load(self, key: str) -> ServedEngine:
        """An engine that is ready for orders, warmed up."""
        ...


class ModelReplica:
    """What one replica holds. It is ready once its engine is: Serve sends it no order before `__init__` has returned."""

    def __init__(self, loader: Loader, limits: Limits, follow_s: float = 10.0, name: str = "experts") -> None:
        """Load the version that the loader finds. follow_s: how often it is asked again, 0 for never."""
        self.loader, self.follow_s = loader, follow_s
        self.key = loader.find()
        engine = loader.load(self.key)
        self.queue = WorkQueue(engine, limits)
        self.offered = engine.offer
        self.metrics = QueueMetrics(name)
        self._following: asyncio.Task[None] | None = None

    async def offer(self) -> Any:  # noqa: ANN401 an Offer or a FusionOffer
        """What can be asked of this replica now."""
        return self.offered

    async def check_health(self) -> None:
        """Serve's call to every replica, every few seconds: from the first on, the alias is followed."""
        if self.follow_s and self._following is None:
            self._following = asyncio.create_task(self._follow())

    async def create(self, work: Work) -> End:
        """The end of an order; the call's cancellation gives it up."""
        async for event in self.follow(work):
            if isinstance(event, End):
                return event
        raise RuntimeError("an order ended without an end")

    async def follow(self, work: Work) -> AsyncIterator[Event]:
        """Every event of an order, refusals too; whoever stops listening gives it up."""
        started = time.monotonic()
        events = self.queue.submit(work)
        try:
            async for event in events:
                yield event
            self.metrics.order_took(time.monotonic() - started)
        except Refused as refused:
            yield refused.refusal
        finally:
            await events.aclose()  # type: ignore[attr-defined]  # it is an async generator
            self.metrics.report(self.queue.tally, self.queue.depth)

    async def state(self) -> dict[str, Any]:
        """What the queue has done so far, by name."""
        facts = {"waiting": self.queue.depth, "in_hand": self.queue.in_hand, "key": self.key, "pid": os.getpid()}
        return {**asdict(self.queue.tally), **facts}

    async def _follow(self) -> None:
        """Load whatever the reference comes to mean beside what is served, then let new orders go there."""
        while True:
            await asyncio.sleep(self.follow_s)
            try:
                key = await asyncio.to_thread(self.loader.find)
                if key == self.key:
                    continue
                LOG.info("loading %s beside %s", key, self.key)
                engine = await asyncio.to_thread(self.loader.load, key)
            except (JobError, OSError, ValueError, RuntimeError):
                LOG.exception("the version to serve could not be found or loaded; %s stays", self.key)
                continue
            self.key, self.queue.engine, self.offered = key, engine, engine.offer
            LOG.info("serving %s", key)
