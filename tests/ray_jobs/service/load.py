"""An open loop of HTTP requests: they leave at their times whatever becomes of those before them."""

import asyncio
import time
from collections import Counter
from dataclasses import dataclass

import aiohttp

from tests.ray_jobs.service.http_client import KEY


@dataclass(frozen=True)
class Answer:
    """One request's. status: 0 where the connection broke, -1 where no answer came in time."""

    status: int
    seconds: float
    sent_at: float
    retry_after: str | None = None


@dataclass(frozen=True)
class Load:
    """Every answer of a run."""

    answers: tuple

    @property
    def statuses(self):
        return Counter(answer.status for answer in self.answers)

    def quantile(self, share, status=200):
        """Seconds that this share of the answers of a status took at most."""
        found = sorted(answer.seconds for answer in self.answers if answer.status == status)
        return found[min(len(found) - 1, int(share * len(found)))]


async def ask_once(session, port, fields, key, patience_s):
    started = time.monotonic()
    headers = {"Authorization": f"Bearer {key}"}
    url = f"http://127.0.0.1:{port}/v1/images/generations"
    status, retry_after = -1, None
    try:
        async with asyncio.timeout(patience_s), session.post(url, json=fields, headers=headers) as answer:
            status, retry_after = answer.status, answer.headers.get("Retry-After")
            await answer.read()
    except aiohttp.ClientError:
        status = 0
    except TimeoutError:
        status = -1
    return Answer(status, time.monotonic() - started, started, retry_after)


async def open_loop(port, *, per_s, seconds, key=KEY, patience_s=60.0, until=None, **fields):
    """Send so many a second, for so long or until the event; every answer, in the order of sending."""
    order = {"prompt": "a red ball", "steps": 1, **fields}
    started = time.monotonic()
    sent = []
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        while time.monotonic() < started + seconds and not (until is not None and until.is_set()):
            sent.append(asyncio.create_task(ask_once(session, port, {**order, "seed": len(sent)}, key, patience_s)))
            await asyncio.sleep(max(0.0, started + len(sent) / per_s - time.monotonic()))
        return Load(tuple(await asyncio.gather(*sent)))


async def one_by_one(port, count, key=KEY, **fields):
    """Send the next when the last has been answered."""
    async with aiohttp.ClientSession() as session:
        order = {"prompt": "a red ball", "steps": 1, "seed": 1, **fields}
        return Load(tuple([await ask_once(session, port, order, key, 60.0) for _ in range(count)]))


async def leave(port, after_s, **fields):
    """Send an order and go away."""
    async with aiohttp.ClientSession() as session:
        return await ask_once(session, port, {"prompt": "x", **fields}, KEY, after_s)
