"""Serves `experts` over HTTP: ``pangu serve``, or ``serve run ray_jobs.serve_generation:app``.

    GenerationApi (HTTP, keys, refusals) --> ExpertsModel (queue, batches, the one generator)
          `--> Jobs (asynchronous orders) --> FusionModel (queue, several models, one picture)

PANGU_SERVE_EXPERTS    what is served, such as `experts@champion`; `experts`, the newest, by default
PANGU_SERVE_FOLLOW_S   how often it is asked what that means now (10; 0: never); a new version takes over without a break
PANGU_API_KEYS         comma-separated `key` or `tenant:key`; without any, only this machine is served
PANGU_SERVE_MEMBERS    who takes part in fusions: a member file (`pangu.member_file`), or `experts` for the served pair alone
PANGU_SERVE_SPREAD     1: each member of the file in a process of its own, with a GPU or NPU of its own (0)
PANGU_SERVE_DEVICE     auto, cpu, cuda or npu
PANGU_SERVE_TIMEOUT_S  the longest that an order may take, waiting included (120)
PANGU_SERVE_MAX_REPLICAS    of the model, by load (1)
PANGU_SERVE_ORDERS_PER_KEY  orders of one key that a replica has in hand (half of all places; all, where there is one key)
PANGU_SERVE_FILTER     JSON of an output filter: {"factory": "pangu.nsfw_filter:make_filter", "weights": FOLDER}
Where it listens is Serve's to know: 127.0.0.1:8000 by default.
"""

import json
import os
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ray import serve
from ray.serve.config import BackpressureConfig

from ray_jobs.service.backend import Backend
from ray_jobs.service.callers import LOOPBACK, Keyring
from ray_jobs.service.door import Door, DoorSettings
from ray_jobs.service.engine import ExpertsLoader
from ray_jobs.service.fusion_engine import EXPERTS_ALONE, FusionLoader
from ray_jobs.service.jobs import JobBook
from ray_jobs.service.model import Loader, ModelReplica
from ray_jobs.service.refusal import RETRY_AFTER_S, Refused
from ray_jobs.service.work import Work
from ray_jobs.service.work_queue import Limits
from ray_jobs.store import Store

EXPERTS_VARIABLE = "PANGU_SERVE_EXPERTS"
KEYS_VARIABLE = "PANGU_API_KEYS"
DRAIN_S = 180.0
"""As long as the longest order may take, so that a rolling update ends none."""
OPEN_REQUESTS = 1000
_LASTING = {
    "backpressure_config": BackpressureConfig(status_code=503, retry_after_s=RETRY_AFTER_S),
    "graceful_shutdown_timeout_s": DRAIN_S,
    "graceful_shutdown_wait_loop_s": 0.5,
    "health_check_period_s": 2.0,
    "max_surge_percent": 100,  # the new replica first, then the old one away
}


@dataclass(frozen=True)
class ServiceSettings:
    """What an application is built with; see the module."""

    keys: Keyring = field(default_factory=lambda: Keyring({}))
    timeout_s: float = 120.0
    limits: Limits = field(default_factory=Limits)
    max_replicas: int = 1
    follow_s: float = 10.0

    @classmethod
    def from_environment(cls, variables: Mapping[str, str]) -> "ServiceSettings":
        """From the variables that the module names. ValueError naming the one that is not accepted."""
        keys = Keyring.of_text(variables.get(KEYS_VARIABLE, ""))
        limits = Limits()
        shared = limits.orders_in_hand // 2 if len(set(keys.tenants.values())) > 1 else limits.orders_in_hand
        of_a_tenant = number_of(variables, "PANGU_SERVE_ORDERS_PER_KEY", shared, 1, limits.orders_in_hand)
        return cls(
            keys=keys,
            timeout_s=number_of(variables, "PANGU_SERVE_TIMEOUT_S", 120.0, 1, DRAIN_S),
            limits=replace(limits, orders_of_a_tenant=int(of_a_tenant)),
            max_replicas=int(number_of(variables, "PANGU_SERVE_MAX_REPLICAS", 1, 1, 1000)),
            follow_s=number_of(variables, "PANGU_SERVE_FOLLOW_S", 10.0, 0, 86400),
        )


def number_of(variables: Mapping[str, str], name: str, default: float, least: float, most: float) -> float:
    """A variable as a number within its bounds. ValueError naming it otherwise."""
    text = variables.get(name) or str(default)
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if not least <= number <= most:
        raise ValueError(f"{name} = {text!r}: accepted is a number from {least:g} to {most:g}")
    return number


@serve.deployment(max_ongoing_requests=OPEN_REQUESTS, max_queued_requests=64, **_LASTING)
class ExpertsModel(ModelReplica):
    """The model's replicas. Their queues are their own: Serve's limits only stand behind them."""


@serve.deployment(max_ongoing_requests=OPEN_REQUESTS, max_queued_requests=64, **_LASTING)
class FusionModel(ModelReplica):
    """The replicas that hold all members of fusions."""


@serve.deployment(
    max_ongoing_requests=OPEN_REQUESTS, max_queued_requests=256, ray_actor_options={"num_cpus": 0.1}, **_LASTING
)
class Jobs:
    """The one book of asynchronous orders."""

    def __init__(self, models: Mapping[str, Any]) -> None:
        """models: kind of order to the Serve handle of the replicas that sample it."""
        self.book = JobBook({kind: Backend(handle).follow for kind, handle in models.items()})

    async def call(self, method: str, *arguments: Any) -> Any:  # noqa: ANN401 JSON or a picture
        """A method of the book; what it refuses comes back as a value."""
        try:
            if method == "make":
                return await self.make(*arguments)
            return await getattr(self.book, method)(*arguments)
        except Refused as refused:
            return refused.refusal

    async def make(self, work: Work, kind: str) -> Any:  # noqa: ANN401 JSON or a refusal
        """The pictures of a job, waited for; whoever stops waiting cancels it."""
        job = await self.book.open(work, kind)
        try:
            return await self.book.result(work.tenant, job["id"])
        except BaseException:
            await self.book.cancel(work.tenant, job["id"])
            raise

    async def listen(self, tenant: str, name: str, after: int) -> AsyncIterator[tuple[int, str, dict[str, Any]]]:
        """See `JobBook.listen`."""
        async for event in self.book.listen(tenant, name, after):
            yield event


@serve.deployment(
    max_ongoing_requests=OPEN_REQUESTS, max_queued_requests=256, ray_actor_options={"num_cpus": 0.25}, **_LASTING
)
@serve.ingress()
class GenerationApi(Door):
    """The door's replicas."""

    def __serve_build_asgi_app__(self) -> Any:  # noqa: ANN401 ASGI
        """What Serve sends requests to."""
        return self.api


def build(loader: Loader, settings: ServiceSettings, fusion_loader: Loader | None = None) -> Any:  # noqa: ANN401
    """The Serve application for whatever the loaders find; a JobError if one finds nothing now."""
    models = {
        "experts": _scaled(ExpertsModel, settings, settings.limits).bind(loader, settings.limits, settings.follow_s)
    }
    loader.find()
    if fusion_loader is not None:
        fusion_loader.find()
        alone = replace(settings.limits, pictures_together=1)
        bound = _scaled(FusionModel, settings, alone).bind(fusion_loader, alone, settings.follow_s, "fusion")
        models["fusion"] = bound
    jobs = Jobs.bind(models)  # type: ignore[attr-defined]
    door = DoorSettings(settings.keys, settings.timeout_s)
    return GenerationApi.bind(models["experts"], jobs, door, models.get("fusion"))  # type: ignore[attr-defined]


def _scaled(deployment: Any, settings: ServiceSettings, limits: Limits) -> Any:  # noqa: ANN401 Serve's deployments
    scaling = {
        "min_replicas": 1,
        "max_replicas": settings.max_replicas,
        "target_ongoing_requests": limits.pictures_together,
        "downscale_delay_s": 300.0,
    }
    return deployment.options(autoscaling_config=scaling)


def refuse_open_door(host: str, keys: Keyring) -> None:
    """Refuse to listen where others can reach it without keys. ValueError."""
    if host not in LOOPBACK and not keys:
        raise ValueError(
            f"host = {host!r}: without {KEYS_VARIABLE} only 127.0.0.1 is accepted; set keys or listen there"
        )


def app(args: dict[str, str]) -> Any:  # noqa: ANN401 a Serve application
    """What Serve's import path names: the application that the environment asks for; it takes no arguments."""
    if args:
        raise ValueError(f"arguments: {', '.join(args)}; none are accepted, the settings are environment variables")
    variables = os.environ
    settings = ServiceSettings.from_environment(variables)
    refuse_open_door(serving_host(), settings.keys)
    loader = ExpertsLoader(
        Store.from_environment(),
        variables.get(EXPERTS_VARIABLE) or "experts",
        variables.get("PANGU_SERVE_DEVICE") or "auto",
        json.loads(variables.get("PANGU_SERVE_FILTER") or "{}"),
    )
    members = variables.get("PANGU_SERVE_MEMBERS")
    spread = is_spread(variables)
    return build(loader, settings, FusionLoader(members, loader, spread=spread) if members else None)


def is_spread(variables: Mapping[str, str]) -> bool:
    """Whether each member of a fusion has a process of its own. ValueError where there is no file of them."""
    spread, members = variables.get("PANGU_SERVE_SPREAD") or "0", variables.get("PANGU_SERVE_MEMBERS") or ""
    if spread not in ("0", "1"):
        raise ValueError(f"PANGU_SERVE_SPREAD = {spread!r}: accepted are 0 and 1")
    if spread == "1" and members in ("", EXPERTS_ALONE):
        raise ValueError(f"PANGU_SERVE_SPREAD = '1': accepted with a member file, PANGU_SERVE_MEMBERS is {members!r}")
    return spread == "1"


def serving_host() -> str:
    """Where the running Serve listens; loopback, its default, where none runs yet."""
    from ray.serve.context import _get_global_client

    client = _get_global_client(raise_if_no_controller_running=False)
    return "127.0.0.1" if client is None else str(client.http_config.host)
