"""The way from the door to the replicas behind it: calls that come back as values, refused calls and lost replicas too."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

from ray.exceptions import RayActorError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError

from ray_jobs.service.refusal import Refusal, Refused, refuse
from ray_jobs.service.work import End, Event, Work

ATTEMPTS = 2
"""An order has its seed before it is sampled, so one lost with its replica can be sampled again: once."""
OFFER_S = 2.0
GRACE_S = 5.0
"""How much later than the queue the door gives up: only when a replica does not answer at all."""

FULL = refuse(503, "the queue is full").refusal
AWAY = refuse(503, "the model is starting").refusal


class Backend:
    """One model behind its Serve handle."""

    def __init__(self, handle: Any) -> None:  # noqa: ANN401 a Serve handle
        """handle: of a deployment with the methods of `ModelReplica`."""
        self.handle = handle
        self._offer: Any = None
        self._offered_at = 0.0
        self._asking: asyncio.Task[None] | None = None

    async def offer(self) -> Any:  # noqa: ANN401 an Offer or a FusionOffer
        """What the model can do, at most a few seconds old. Refused, 503, while no replica is ready."""
        if time.monotonic() - self._offered_at > OFFER_S:
            if self._asking is None or self._asking.done():
                self._asking = asyncio.create_task(self._ask())
            await asyncio.wait({self._asking}, timeout=1.0 if self._offer is None else 0.0)
        if self._offer is None:
            raise refuse(503, AWAY.message)
        return self._offer

    async def is_ready(self) -> bool:
        """Whether a replica answers within a second."""
        asking = asyncio.create_task(self._ask())
        done, _ = await asyncio.wait({asking}, timeout=1.0)
        return bool(done) and self._offer is not None

    async def _ask(self) -> None:
        try:
            self._offer = await self.handle.offer.remote()
        except BackPressureError:
            return  # a full queue has a model behind it
        except (RayActorError, DeploymentUnavailableError):
            self._offer = None
        self._offered_at = time.monotonic()

    async def create(self, work: Work) -> End:
        """The end of an order. Its caller's cancellation is the order's."""
        ends_at = time.monotonic() + work.timeout_s
        for attempt in range(ATTEMPTS):
            call = self.handle.create.remote(replace(work, timeout_s=max(0.01, ends_at - time.monotonic())))
            try:
                async with asyncio.timeout(ends_at - time.monotonic() + GRACE_S):
                    end: End = await call
            except BackPressureError:
                return FULL
            except TimeoutError:
                call.cancel()
                return AWAY
            except asyncio.CancelledError:
                call.cancel()
                raise
            except (RayActorError, DeploymentUnavailableError):
                if attempt + 1 == ATTEMPTS:
                    return AWAY
            else:
                return end
        raise AssertionError("unreachable")

    async def follow(self, work: Work) -> AsyncIterator[Event]:
        """Every event of an order, a lost replica as a refusal; whoever stops listening gives the order up."""
        events = self.handle.options(stream=True).follow.remote(work)
        try:
            async for event in events:
                yield event
        except BackPressureError:
            yield FULL
        except (RayActorError, DeploymentUnavailableError):
            yield AWAY
        finally:
            events.cancel()


def value_of(answer: Any) -> Any:  # noqa: ANN401 whatever the book answers
    """An answer that is no refusal. Refused if it is one."""
    if isinstance(answer, Refusal):
        raise Refused(answer)
    return answer
