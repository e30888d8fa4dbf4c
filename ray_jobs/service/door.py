"""The HTTP door: it knows who calls, refuses what no model should see, and hands the rest on.

POST   /v1/images/generations    pictures of a prompt, as OpenAI's       GET /v1/models, /health, /openapi.json
GET    /v1/jobs[/ID[/events]]    asynchronous orders                     GET /v1/jobs/ID/images/N
DELETE /v1/jobs/ID               cancel one                              GET /          the page
"""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from ray_jobs.service.backend import Backend, value_of
from ray_jobs.service.callers import Keyring
from ray_jobs.service.condition_images import ImageReader
from ray_jobs.service.events import HEADERS, event_text, openai_stream
from ray_jobs.service.fusion_orders import EXAMPLES, FusionOrder
from ray_jobs.service.jobs import picture_list, refuse_all_blocked
from ray_jobs.service.openapi import DESCRIPTION, answers, order_body, use_own_errors
from ray_jobs.service.orders import ImageOrder, Order, read_order
from ray_jobs.service.page import page_file
from ray_jobs.service.refusal import Refusal, Refused, refuse
from ray_jobs.service.request_body import read_body, read_form, while_there
from ray_jobs.service.work import Work

MAX_BODY_BYTES = 64 * 1024
MAX_FUSION_BYTES = 32 * 2**20
TIMEOUT_HEADER = "x-request-timeout-s"


@dataclass(frozen=True)
class DoorSettings:
    """keys: who may come in. timeout_s: of orders that name none, and the most that any may name.

    images: how condition images are read.
    """

    keys: Keyring
    timeout_s: float = 120.0
    images: ImageReader = field(default_factory=ImageReader)


class Door:
    """Everything that is asked over HTTP. api: the ASGI application that asks it."""

    def __init__(self, experts: Any, book: Any, settings: DoorSettings, fusion: Any = None) -> None:  # noqa: ANN401
        """experts, fusion: Serve handles of the models' replicas, the second where there are members; book: of the jobs."""
        self.experts, self.book, self.settings = Backend(experts), book, settings
        self.fusion = None if fusion is None else Backend(fusion)
        self.api = self._make_api()

    def _make_api(self) -> FastAPI:
        api = FastAPI(title="PanGu-Draw", version="1", description=DESCRIPTION, docs_url=None, redoc_url=None)
        use_own_errors(api)
        private, job = (401, 403), "/v1/jobs/{name}"
        api.get("/health", responses=answers(503), tags=["service"])(self.health)
        api.get("/v1/models", responses=answers(*private, 503), tags=["models"])(self.list_models)
        api.get("/v1/models/{name}", responses=answers(*private, 404, 503), tags=["models"])(self.show_model)
        ordering = answers(400, *private, 404, 408, 413, 429, 503)
        images: dict[str, Any] = {"openapi_extra": order_body(ImageOrder), "responses": ordering, "tags": ["images"]}
        api.post("/v1/images/generations", **images)(self.create_images)
        fusions: dict[str, Any] = {**images, "openapi_extra": order_body(FusionOrder, EXAMPLES), "tags": ["fusions"]}
        api.post("/v1/fusions", **fusions)(self.create_fusion)
        api.get("/v1/members", responses=answers(*private, 404, 503), tags=["fusions"])(self.list_members)
        api.get("/v1/jobs", responses=answers(*private), tags=["jobs"])(self.list_jobs)
        api.get(job, responses=answers(*private, 404), tags=["jobs"])(self.show_job)
        api.delete(job, responses=answers(*private, 404), tags=["jobs"])(self.cancel_job)
        api.get(job + "/events", responses=answers(*private, 404), tags=["jobs"])(self.listen_to_job)
        api.get(job + "/images/{index}", responses=answers(*private, 404), tags=["jobs"])(self.show_picture)
        api.get("/", include_in_schema=False)(self.show_page)
        api.get("/page/{name}", include_in_schema=False)(self.show_page_file)
        return api

    async def health(self) -> JSONResponse:
        """200 with the served version once its model has loaded and warmed up, 503 before. Needs no key."""
        if not await self.experts.is_ready():
            return JSONResponse({"status": "starting"}, 503)
        offer = await self.experts.offer()
        return JSONResponse({"status": "ok", "model": offer.model})

    async def list_models(self, request: Request) -> JSONResponse:
        """What is served: the exact version, and the names that stand for it."""
        self._enter(request)
        return JSONResponse({"object": "list", "data": await self._models()})

    async def show_model(self, request: Request, name: str) -> JSONResponse:
        """One of them, by any of its names."""
        self._enter(request)
        for model in await self._models():
            if model["id"] == name:
                return JSONResponse(model)
        raise refuse(404, f"model = {name[:80]!r}: there is none of that name", "model", "model_not_found")

    async def create_images(self, request: Request) -> Response:
        """Pictures of a prompt, each with the seed that makes it again; a stream, or a job to ask after."""
        tenant = self._enter(request)
        order = read_order(ImageOrder, await read_body(request, MAX_BODY_BYTES))
        (await self.experts.offer()).bucket_of(order)
        return await self._answer(self.experts, self._work(tenant, order, request), request)

    async def create_fusion(self, request: Request) -> Response:
        """Pictures that several members draw together, each told its own prompt and images.

        With images as files: multipart/form-data, the JSON in the field `request`, and `upload:NAME` where an image is said.
        """
        tenant = self._enter(request)
        fusion = self._fusion()
        body, uploads = await read_form(request, MAX_FUSION_BYTES)
        order = read_order(FusionOrder, body)
        images = await while_there(request, self.settings.images.read(order, uploads))
        await fusion.offer()
        return await self._answer(fusion, replace(self._work(tenant, order, request), images=images), request)

    async def list_members(self, request: Request) -> JSONResponse:
        """Who can take part in a fusion."""
        self._enter(request)
        offer = await self._fusion().offer()
        return JSONResponse({"object": "list", "data": [member.model_dump() for member in offer.members]})

    def _fusion(self) -> Backend:
        if self.fusion is None:
            raise refuse(404, "no members are served; set PANGU_SERVE_MEMBERS", None, "model_not_found")
        return self.fusion

    async def list_jobs(self, request: Request) -> JSONResponse:
        """The caller's asynchronous orders, the newest first."""
        tenant = self._enter(request)
        return JSONResponse({"object": "list", "data": await self._book("views", tenant)})

    async def show_job(self, request: Request, name: str) -> JSONResponse:
        """How far a job is, and its result."""
        return JSONResponse(await self._book("view", self._enter(request), name))

    async def cancel_job(self, request: Request, name: str) -> JSONResponse:
        """Cancel a job: its steps stop, and its place is free."""
        return JSONResponse(await self._book("cancel", self._enter(request), name))

    async def listen_to_job(self, request: Request, name: str) -> Response:
        """Server-sent events of a job from its beginning, or from after `Last-Event-ID`, up to its end."""
        tenant = self._enter(request)
        await self._book("view", tenant, name)
        last = request.headers.get("last-event-id", "")
        after = int(last) if last.isascii() and last.isdigit() and len(last) < 10 else 0

        async def lines() -> AsyncIterator[str]:
            events = self.book.options(stream=True).listen.remote(tenant, name, after)
            try:
                async for number, kind, data in events:
                    yield event_text(kind, data, number)
            finally:
                events.cancel()

        return StreamingResponse(lines(), media_type="text/event-stream", headers=HEADERS)

    async def show_picture(self, request: Request, name: str, index: str) -> Response:
        """One picture of a job, as a file."""
        tenant = self._enter(request)
        number = int(index) if index.isascii() and index.isdigit() and len(index) < 4 else -1
        kind, file = await self._book("picture", tenant, name, number)
        return Response(file, media_type=f"image/{kind}", headers={"X-Content-Type-Options": "nosniff"})

    async def show_page(self) -> Response:
        """The page for people."""
        return page_file("index.html")

    async def show_page_file(self, name: str) -> Response:
        """What the page consists of."""
        return page_file(name)

    def _enter(self, request: Request) -> str:
        return self.settings.keys.admit(request.headers, request.client.host if request.client else None)

    def _work(self, tenant: str, order: Order, request: Request) -> Work:
        """The order with its seed and its time: the shortest of what body, header and service say."""
        given = request.headers.get(TIMEOUT_HEADER)
        try:
            asked = [float(given)] if given is not None else []
        except ValueError:
            asked = [-1.0]
        if any(not 0 < seconds < float("inf") for seconds in asked):
            raise refuse(400, f"{TIMEOUT_HEADER}: accepted is a number of seconds above 0", TIMEOUT_HEADER)
        asked += [order.timeout_s] if order.timeout_s is not None else []
        seed = secrets.randbits(53) if order.seed is None else order.seed
        return Work(tenant, order, seed, min(self.settings.timeout_s, *asked, self.settings.timeout_s))

    async def _answer(self, backend: Backend, work: Work, request: Request) -> Response:
        """Whatever the order wants: a job, a stream of events, or the pictures."""
        if work.order.asynchronous:
            job = await self._book("open", work, self._kind(backend))
            return JSONResponse(job, 202, {"Location": f"/v1/jobs/{job['id']}"})
        if work.order.stream:
            lines = openai_stream(backend.follow(work), work)
            return StreamingResponse(lines, media_type="text/event-stream", headers=HEADERS)
        if work.order.response_format == "url":
            return JSONResponse(await while_there(request, self._book("make", work, self._kind(backend))))
        end = refuse_all_blocked(await while_there(request, backend.create(work)))
        if isinstance(end, Refusal):
            raise Refused(end)
        return JSONResponse(picture_list(end, work, int(time.time()), None))

    def _kind(self, backend: Backend) -> str:
        return "fusion" if backend is self.fusion else "experts"

    async def _book(self, method: str, *arguments: object) -> Any:  # noqa: ANN401 JSON, or a picture
        call = self.book.call.remote(method, *arguments)
        try:
            return value_of(await call)
        except asyncio.CancelledError:
            call.cancel()
            raise

    async def _models(self) -> list[dict[str, Any]]:
        offer = await self.experts.offer()
        facts = {"object": "model", "created": 0, "owned_by": "pangu", "root": offer.model}
        can = {"sizes": list(offer.sizes), "default_size": offer.default_size, "styles": list(offer.styles)}
        return [{"id": name, **facts, **can} for name in offer.names]
