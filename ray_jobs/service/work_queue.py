"""The queue in front of one model: bounded, fair between tenants, in batches of like orders, and quick to let go.

    submit --> waiting orders --> batches of one group --> one thread that samples --> events back to each submitter

An order whose client has gone or whose time is over leaves the queue at once; one that is being sampled is given up by the
engine after the step it is in.
"""

import asyncio
import contextlib
import logging
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Protocol

from ray_jobs.service.refusal import Refusal, refuse
from ray_jobs.service.work import End, Event, Started, Step, Work

LOG = logging.getLogger("ray.serve")

Watch = Callable[[int, Step], bool]
"""Told how far the order of that place in the batch is; False gives it up."""


class Engine(Protocol):
    """What samples. It is called from one thread at a time."""

    def group(self, work: Work) -> Hashable:
        """What orders must share to be sampled together; Refused for an order that cannot be sampled at all."""
        ...

    def sample(self, works: Sequence[Work], watch: Watch) -> list[End]:
        """The end of each order of one group; whatever for those that were given up."""
        ...


@dataclass(frozen=True)
class Limits:
    """Bounds of one queue. pictures_together: in one batch. orders_in_hand: waiting and sampled; one tenant's among them."""

    pictures_together: int = 8
    orders_in_hand: int = 24
    orders_of_a_tenant: int = 24


@dataclass
class Tally:
    """What has happened so far, for metrics and tests. late_steps: steps of orders that the engine was told to give up."""

    orders: int = 0
    refused: int = 0
    batches: int = 0
    steps: int = 0
    let_go: int = 0
    late_steps: int = 0
    waited_s: float = 0.0
    sampled_s: float = 0.0


@dataclass(eq=False)
class _Order:
    work: Work
    engine: Engine
    group: Hashable
    ends_at: float
    arrived_at: float
    events: asyncio.Queue[Event] = field(default_factory=asyncio.Queue)
    is_over: bool = False
    is_given_up: bool = False

    @property
    def is_wanted(self) -> bool:
        return not self.is_over and time.monotonic() < self.ends_at


class WorkQueue:
    """Orders of one replica. `engine` may be replaced at any time: orders stay with the one that admitted them."""

    def __init__(self, engine: Engine, limits: Limits) -> None:
        """Start with an engine that is ready."""
        self.engine = engine
        self.limits = limits
        self.tally = Tally()
        self._waiting: list[_Order] = []
        self._sampled: list[_Order] = []
        self._turns: OrderedDict[str, None] = OrderedDict()
        self._runner: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="sampling")

    @property
    def depth(self) -> int:
        """Orders that wait."""
        return len(self._waiting)

    @property
    def in_hand(self) -> int:
        """Orders that wait or are being sampled."""
        return len(self._waiting) + len(self._sampled)

    async def submit(self, work: Work) -> AsyncIterator[Event]:
        """Events of an order up to its end. Whoever stops listening gives the order up.

        Raises:
            Refused: 429 or 503 when there is no place for it, 408 when its time is over, or whatever the engine says.
        """
        order = self._admit(work)
        try:
            while True:
                try:
                    async with asyncio.timeout(max(0.0, order.ends_at - time.monotonic())):
                        event = await order.events.get()
                except TimeoutError:
                    raise refuse(408, f"timeout_s = {work.timeout_s:g}: over before the end", "timeout_s") from None
                yield event
                if isinstance(event, End):
                    return
        finally:
            self._let_go(order)

    def _admit(self, work: Work) -> _Order:
        in_hand = [order for order in (*self._waiting, *self._sampled) if not order.is_over]
        try:
            if sum(order.work.tenant == work.tenant for order in in_hand) >= self.limits.orders_of_a_tenant:
                raise refuse(429, f"{self.limits.orders_of_a_tenant} orders of this API key are in hand already")
            if len(in_hand) >= self.limits.orders_in_hand:
                raise refuse(503, f"the queue is full: {len(in_hand)} orders are in hand")
            group = self.engine.group(work)
        except Exception:
            self.tally.refused += 1
            raise
        now = time.monotonic()
        order = _Order(work, self.engine, (id(self.engine), group), now + work.timeout_s, now)
        self._waiting.append(order)
        self._turns.setdefault(work.tenant)
        self.tally.orders += 1
        if self._runner is None or self._runner.done():
            self._runner = asyncio.create_task(self._run())
        return order

    def _let_go(self, order: _Order) -> None:
        self.tally.let_go += order in self._waiting or order in self._sampled
        order.is_over = True
        with contextlib.suppress(ValueError):
            self._waiting.remove(order)

    async def _run(self) -> None:
        while batch := self._take():
            self._sampled = batch
            started = time.monotonic()
            for order in batch:
                self.tally.waited_s += started - order.arrived_at
                order.events.put_nowait(Started())
            loop = asyncio.get_running_loop()
            ends = await loop.run_in_executor(self._thread, self._sample, batch, loop)
            self._sampled = []
            self.tally.batches += 1
            self.tally.sampled_s += time.monotonic() - started
            for order, end in zip(batch, ends, strict=True):
                order.events.put_nowait(end)

    def _take(self) -> list[_Order]:
        """The next batch: orders of the group whose turn it is, one of each tenant in turn."""
        self._waiting = [order for order in self._waiting if order.is_wanted]
        for tenant in [name for name in self._turns if all(order.work.tenant != name for order in self._waiting)]:
            del self._turns[tenant]
        batch: list[_Order] = []
        pictures = 0
        while order := self._next(batch):
            pictures += order.work.order.n
            if batch and pictures > self.limits.pictures_together:
                break
            batch.append(order)
            self._waiting.remove(order)
            if order.work.tenant in self._turns:
                self._turns.move_to_end(order.work.tenant)
        return batch

    def _next(self, batch: Sequence[_Order]) -> _Order | None:
        for tenant in self._turns:
            for order in self._waiting:
                if order.work.tenant == tenant and (not batch or order.group == batch[0].group):
                    return order
        return None

    def _sample(self, batch: Sequence[_Order], loop: asyncio.AbstractEventLoop) -> list[End]:
        """In the thread: the end of each order, whatever the engine does."""

        def watch(number: int, step: Step) -> bool:
            order = batch[number]
            self.tally.steps += 1
            self.tally.late_steps += order.is_given_up
            order.is_given_up = not order.is_wanted
            if not order.is_given_up:
                loop.call_soon_threadsafe(order.events.put_nowait, step)
            return not order.is_given_up

        try:
            return batch[0].engine.sample([order.work for order in batch], watch)
        except Exception:  # whatever it is, it must not stop the queue: the orders are told, the log has the trace
            LOG.exception("sampling a batch of %d orders failed", len(batch))
            return [Refusal(500, "sampling failed; the service's log says why") for _ in batch]
