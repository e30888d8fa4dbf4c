"""Serves one version of `experts` over HTTP: ``serve run ray_jobs.serve_generation:app``.

POST /v1/images/generations --> GenerationApi, the door --> ExpertsModel, the one generator
GET  /health                    keys, checks, refusals      bounded queue, batches, cancellation

PANGU_SERVE_EXPERTS   the version to serve (`experts`, the newest, by default); made exact once, so that all replicas agree
PANGU_API_KEYS        comma-separated keys; without any, only this machine is served
PANGU_SERVE_DEVICE    auto, cpu, cuda or npu
Where it listens and how long a request may take is Serve's: 127.0.0.1:8000 and no limit by default.
"""

import asyncio
import base64
import json
import os
import secrets
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from ray import serve
from ray.exceptions import RayActorError
from ray.serve.config import BackpressureConfig
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError

from pangu.provenance import Marker, OriginMark
from ray_jobs.folder_versions import fetch_version
from ray_jobs.generation_configs import Marking
from ray_jobs.generation_order import ImageOrder, Offer, Refused, check_caller, digests_of_keys, read_order
from ray_jobs.generation_plan import SQUARE_BUCKET
from ray_jobs.job_configs import Runtime
from ray_jobs.manifest import Manifest
from ray_jobs.store import Store
from ray_jobs.versions import Versions

EXPERTS_VARIABLE = "PANGU_SERVE_EXPERTS"
KEYS_VARIABLE = "PANGU_API_KEYS"
DEVICE_VARIABLE = "PANGU_SERVE_DEVICE"
ROWS_PER_BATCH = 8
"""The generator's padded batch; the shape decides bits, so it is no setting."""
ORDERS_PER_BATCH = 4
ORDERS_IN_HAND = 2 * ORDERS_PER_BATCH
ORDERS_WAITING = 16
RETRY_AFTER_S = 5
DRAIN_S = 120
BACKPRESSURE = BackpressureConfig(status_code=503, retry_after_s=RETRY_AFTER_S)


@dataclass(frozen=True)
class Work:
    """A checked order on its way to the model."""

    order: ImageOrder
    bucket: int
    seed: int


@dataclass(frozen=True)
class Job:
    """Work in the hands of a replica, and whether nobody waits for it any more."""

    work: Work
    is_over: threading.Event = field(default_factory=threading.Event)


class NobodyWaitsError(Exception):
    """Every client of a batch has gone: the steps that are left would be for nobody."""


@serve.deployment(
    max_ongoing_requests=ORDERS_IN_HAND,
    max_queued_requests=ORDERS_WAITING,
    backpressure_config=BACKPRESSURE,
    graceful_shutdown_timeout_s=DRAIN_S,
)
class ExpertsModel:
    """A loaded pair: orders that come together are sampled together."""

    def __init__(self, store: Store, version: Manifest, device: str) -> None:
        """Fetch and check the version, and load it."""
        from pangu.generate import Generator
        from pangu.pipeline import load_experts
        from ray_jobs.device import torch_device

        with tempfile.TemporaryDirectory(prefix="pangu-serve-") as name:
            folder = fetch_version(store, version, Path(name))
            pipeline = load_experts(folder, torch_device(Runtime.model_validate({"device": device})))
        self.generator = Generator(pipeline, rows_per_batch=ROWS_PER_BATCH)
        self.mark = Marker(OriginMark(Marking().system, version.digest), "png")

    async def ready(self) -> None:
        """Answer once the pair is loaded."""

    async def __call__(self, work: Work) -> list[bytes]:
        """The pictures of one order as PNG files that say a model made them, each mark read back.

        When the client goes, so does its share of the work.
        """
        job = Job(work)
        try:
            made: list[bytes] = await self.sample_together(job)
            return made
        finally:
            job.is_over.set()

    @serve.batch(max_batch_size=ORDERS_PER_BATCH, batch_wait_timeout_s=0.02)
    async def sample_together(self, jobs: list[Job]) -> list[list[bytes]]:
        """The pictures of each job; one batch runs at a time."""
        return await asyncio.to_thread(self.sample, jobs)

    def sample(self, jobs: list[Job]) -> list[list[bytes]]:
        """The pictures of each job, none for any of them where all clients have gone."""
        from pangu.generate import GenerationRequest

        def stop_when_nobody_waits(_: int) -> None:
            if all(job.is_over.is_set() for job in jobs):
                raise NobodyWaitsError

        requests = [
            GenerationRequest(
                key=f"{number}/{index}",
                prompt=job.work.order.prompt,
                seed=job.work.seed + index,
                bucket=job.work.bucket,
                steps=job.work.order.steps,
                guidance=job.work.order.guidance,
            )
            for number, job in enumerate(jobs)
            for index in range(job.work.order.n)
        ]
        try:
            made = iter(self.generator.generate(requests, stop_when_nobody_waits))
        except NobodyWaitsError:
            return [[] for _ in jobs]
        return [[self.mark(next(made).image).data for _ in range(job.work.order.n)] for job in jobs]


api = FastAPI(title="PanGu-Draw", docs_url=None, redoc_url=None)


@serve.deployment(
    max_ongoing_requests=4 * (ORDERS_IN_HAND + ORDERS_WAITING),
    max_queued_requests=ORDERS_IN_HAND + ORDERS_WAITING,
    backpressure_config=BACKPRESSURE,
    graceful_shutdown_timeout_s=DRAIN_S,
    ray_actor_options={"num_cpus": 0.25},
)
@serve.ingress(api)
class GenerationApi:
    """The door: it refuses what the model should never see, at once, however long the queue is."""

    def __init__(self, model: Any, offer: Offer, key_digests: frozenset[str]) -> None:  # noqa: ANN401 a Serve handle
        """Take the model's handle, what it offers, and the digests of the keys that open."""
        self.model, self.offer, self.key_digests = model, offer, key_digests
        self.loading: asyncio.Task[None] | None = None

    @api.get("/health")
    async def health(self) -> JSONResponse:
        """200 with the served version when its model has loaded, 503 before."""
        self.loading = self.loading or asyncio.create_task(self._wait_for_model())
        done, _ = await asyncio.wait({self.loading}, timeout=1.0)
        if done and self.loading.exception() is not None:
            self.loading = None
        is_ready = bool(done) and self.loading is not None
        facts = {"status": "ok" if is_ready else "starting", **self.offer.model_dump()}
        return JSONResponse(facts, status_code=200 if is_ready else 503)

    @api.post("/v1/images/generations")
    async def create_images(self, request: Request) -> JSONResponse:
        """Pictures of a prompt, each with the seed that makes it again."""
        try:
            check_caller(request.headers, request.client.host if request.client else None, self.key_digests)
            order = read_order(await request.body())
            seed = secrets.randbits(62) if order.seed is None else order.seed
            pictures = await self._sample(Work(order, self.offer.bucket_of(order), seed))
        except Refused as refused:
            headers = {401: {"WWW-Authenticate": "Bearer"}, 503: {"Retry-After": str(RETRY_AFTER_S)}}
            return JSONResponse(refused.body(), refused.status, headers.get(refused.status))
        data = [
            {"b64_json": base64.b64encode(picture).decode(), "seed": seed + index}
            for index, picture in enumerate(pictures)
        ]
        return JSONResponse({"created": int(time.time()), "model": f"experts@{self.offer.key}", "data": data})

    async def _sample(self, work: Work) -> list[bytes]:
        try:
            made: list[bytes] = await self.model.remote(work)
        except BackPressureError:
            raise Refused(503, f"the queue is full; try again in {RETRY_AFTER_S} seconds") from None
        except (RayActorError, DeploymentUnavailableError):
            self.loading = None
            raise Refused(503, f"the model is starting again; try again in {RETRY_AFTER_S} seconds") from None
        return made

    async def _wait_for_model(self) -> None:
        try:
            await self.model.ready.remote()
        except BackPressureError:
            return  # a full queue has a model behind it


def build(store: Store, reference: str, keys: str = "", device: str = "auto") -> Any:  # noqa: ANN401 a Serve application
    """The application for one version, resolved now. UnknownVersion if there is none."""
    version = Versions(store).resolve(reference)
    if version.artifact != "experts":
        raise ValueError(f"{EXPERTS_VARIABLE}: {reference} is a version of {version.artifact}; accepted are experts")
    card = json.loads(store.read(f"{version.prefix}/{version.folder}/experts.json"))
    offer = Offer.of_card(version.key, version.digest, card, SQUARE_BUCKET)
    model = ExpertsModel.bind(store, version, device)  # type: ignore[attr-defined]
    return GenerationApi.bind(model, offer, digests_of_keys(keys))  # type: ignore[attr-defined]


def app(args: dict[str, str]) -> Any:  # noqa: ANN401 a Serve application
    """What Serve's import path names: the application that the environment asks for; it takes no arguments."""
    if args:
        raise ValueError(f"arguments: {', '.join(args)}; none are accepted, the settings are environment variables")
    settings = os.environ
    return build(
        Store.from_environment(),
        settings.get(EXPERTS_VARIABLE) or "experts",
        settings.get(KEYS_VARIABLE, ""),
        settings.get(DEVICE_VARIABLE) or "auto",
    )
