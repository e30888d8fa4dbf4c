"""The service without Ray: the same door, book and model in one process behind uvicorn, their calls made directly."""

import asyncio
import socket
import threading
import time
from contextlib import contextmanager

import uvicorn

from ray_jobs.serve_generation import Jobs
from ray_jobs.service.callers import Keyring
from ray_jobs.service.door import Door, DoorSettings
from ray_jobs.service.model import ModelReplica
from tests.ray_jobs.service.http_client import KEY, OTHER_KEY


def door_settings():
    """Two tenants, a key each."""
    return DoorSettings(Keyring.of_text(f"alice:{KEY}, bob:{OTHER_KEY}"), timeout_s=60.0)


class LocalHandle:
    """What a Serve handle does, for an object of this event loop."""

    def __init__(self, target, stream=False):
        self._target, self._stream = target, stream

    def options(self, stream):
        return LocalHandle(self._target, stream)

    def __getattr__(self, name):
        return _LocalMethod(getattr(self._target, name), self._stream)


class _LocalMethod:
    def __init__(self, method, stream):
        self._method, self._stream = method, stream

    def remote(self, *arguments):
        return _LocalStream(self._method(*arguments)) if self._stream else _LocalCall(self._method(*arguments))


class _LocalCall:
    def __init__(self, coroutine):
        self._task = asyncio.ensure_future(coroutine)

    def __await__(self):
        return self._task.__await__()

    def cancel(self):
        self._task.cancel()


class _LocalStream:
    """A generator drained by a task of its own, so that `cancel` works as on a replica far away."""

    def __init__(self, generator):
        self._items = asyncio.Queue()
        self._task = asyncio.ensure_future(self._drain(generator))

    async def _drain(self, generator):
        try:
            async for item in generator:
                self._items.put_nowait((item, None))
        finally:
            await generator.aclose()
            self._items.put_nowait((None, StopAsyncIteration()))

    def __aiter__(self):
        return self

    async def __anext__(self):
        item, end = await self._items.get()
        if end is not None:
            raise end
        return item

    def cancel(self):
        self._task.cancel()


class LocalService:
    """A running service. port: on loopback. model: its only replica."""

    def __init__(self, loader, limits, settings, follow_s=0.05, fusion_loader=None):
        self._made = loader, limits, settings, follow_s, fusion_loader
        self.model = self.fusion = None
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        config = uvicorn.Config(
            self._entrance, interface="asgi3", port=self.port, log_level="warning", timeout_graceful_shutdown=1
        )
        self._server = uvicorn.Server(config)
        self._door = None

    async def _entrance(self, scope, receive, send):
        if scope["type"] == "lifespan":
            loader, limits, settings, follow_s, fusion_loader = self._made
            self.model = ModelReplica(loader, limits, follow_s)
            models = {"experts": LocalHandle(self.model)}
            if fusion_loader is not None:
                self.fusion = ModelReplica(fusion_loader, limits, follow_s, "fusion")
                models["fusion"] = LocalHandle(self.fusion)
            await self.model.check_health()
            jobs = Jobs.func_or_class(models)
            self._door = Door(models["experts"], LocalHandle(jobs), settings, models.get("fusion"))
            for answer in ("lifespan.startup.complete", "lifespan.shutdown.complete"):
                await receive()
                await send({"type": answer})
            return
        await self._door.api(scope, receive, send)

    def run(self):
        asyncio.run(self._server.serve())

    def stop(self):
        self._server.should_exit = True


@contextmanager
def serving(loader, limits, settings, **options):
    """A running `LocalService`."""
    service = LocalService(loader, limits, settings, **options)
    thread = threading.Thread(target=service.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 30
    while not service._server.started:
        assert thread.is_alive() and time.monotonic() < deadline
        time.sleep(0.01)
    yield service
    service.stop()
    thread.join(20)
