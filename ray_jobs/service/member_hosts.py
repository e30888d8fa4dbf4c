"""Fusion members spread over processes of their own: a host each on Ray, with a GPU or NPU each where there are any.

The replica keeps no network. It sends a host latents, or pixels to take across, and asks all members of a step before it
waits for the first, so that a step takes as long as its slowest member instead of all of them in turn.

A host remembers nothing that it cannot make again: every question brings along what the rows are told. So Ray may start a
host anew and ask it once more, and the picture is the same.
"""

import uuid
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray

from pangu.fusion_request import Member, Told
from pangu.latent_bridge import GridSpace, Size
from pangu.member_file import load_members, read_members
from pangu.noise_schedule import NoiseSchedule
from pangu.prompted_model import PromptedModel
from pangu.unet_model import AcceptedSizes, UNetModel
from ray_jobs.device import torch_device
from ray_jobs.job_configs import Runtime

if TYPE_CHECKING:
    from torch import Tensor

    from pangu.autoencoder import UInt8Images

TOLD_AT_ONCE = 8
"""Batches whose words a host keeps encoded."""


@dataclass(frozen=True)
class HostedModel:
    """What a replica must know of a host's model. space: its channels and factor; space_digest: of its weights.

    detects: for each condition image, whether the member has a detector.
    """

    accepted: AcceptedSizes
    default_size: Size
    num_conditions: int
    schedule: NoiseSchedule
    space: tuple[int, int]
    space_digest: str
    detects: tuple[bool, ...]


class MemberHost:
    """One member of a file, in this process."""

    def __init__(self, file: str, name: str, device: str) -> None:
        """device: auto, cpu, cuda or npu."""
        spaces: dict[str, Any] = {}
        on = torch_device(Runtime.model_validate({"device": device}))
        self.member = load_members(Path(file), device=on, only=name, spaces=spaces)[name]
        assert isinstance(self.member.model, UNetModel)
        self.model: UNetModel = self.member.model
        (self._space_digest,) = spaces
        self._told: OrderedDict[str, PromptedModel] = OrderedDict()

    def describe(self) -> HostedModel:
        """See `HostedModel`."""
        model = self.model
        return HostedModel(
            accepted=model.accepted,
            default_size=model.default_size,
            num_conditions=model.num_conditions,
            schedule=model.schedule,
            space=(model.space.channels, model.space.factor),
            space_digest=self._space_digest,
            detects=tuple(detector is not None for detector in self.member.detectors),
        )

    def ask(self, token: str, rows: Sequence[Told], size: Size, x_t: "Tensor", t: float) -> "Tensor":
        """x0 of latents (B, C, h, w) at timestep t. token: stands for rows and size."""
        import torch

        with torch.inference_mode():
            if token not in self._told:
                self._told[token] = self.model.told(rows, size)
                if len(self._told) > TOLD_AT_ONCE:
                    self._told.popitem(last=False)
            return self._told[token].denoise(x_t.to(self.model.device), t).cpu()

    def cross(self, direction: str, values: "Tensor", *, in_bridge: bool) -> "Tensor":
        """`encode` pixels or `decode` latents (B, ...). in_bridge: by the autoencoder that stands in for the model's."""
        import torch

        space = self.member.bridge if in_bridge else self.model.space
        assert space is not None
        with torch.inference_mode():
            return getattr(space, direction)(values.to(self.model.device)).cpu()  # type: ignore[no-any-return]

    def detect(self, place: int, picture: "UInt8Images") -> "UInt8Images":
        """The condition image (H, W, 3) uint8 that the member's detector makes of a picture."""
        detector = self.member.detectors[place]
        assert detector is not None
        return detector(picture)


class RemoteSpace(GridSpace):
    """A host's latent space; noise is drawn here."""

    def __init__(self, host: Any, channels: int, factor: int, *, in_bridge: bool) -> None:  # noqa: ANN401 Ray's handle
        """in_bridge: see `MemberHost.cross`."""
        self.host, self.channels, self.factor, self.in_bridge = host, channels, factor, in_bridge

    def encode(self, pixels: "Tensor") -> "Tensor":
        """See `LatentSpace`."""
        return self._cross("encode", pixels)

    def decode(self, latents: "Tensor") -> "Tensor":
        """See `LatentSpace`."""
        return self._cross("decode", latents)

    def _cross(self, direction: str, values: "Tensor") -> "Tensor":
        crossed: Tensor = ray.get(self.host.cross.remote(direction, values, in_bridge=self.in_bridge))
        return crossed


class RemoteDenoiser:
    """A host's model that has been told what to draw."""

    def __init__(self, host: Any, rows: Sequence[Told], size: Size) -> None:  # noqa: ANN401 Ray's handle
        """rows: sent once; the host takes them from Ray's object store."""
        self._ask = partial(host.ask.remote, uuid.uuid4().hex, ray.put(tuple(rows)), size)

    def begin(self, x_t: "Tensor", t: float) -> "Callable[[], Tensor]":
        """See `pangu.prompted_model.begin`."""
        return partial(ray.get, self._ask(x_t, t))

    def __call__(self, x_t: "Tensor", t: float) -> "Tensor":
        """See `PromptedDenoiser`."""
        return self.begin(x_t, t)()


class RemoteModel:
    """A host's model as a `FusionModel`."""

    def __init__(self, host: Any, hosted: HostedModel, space: RemoteSpace) -> None:  # noqa: ANN401 Ray's handle
        """space: shared with members of the same autoencoder."""
        self.host, self.hosted, self.space = host, hosted, space
        self.default_size, self.num_conditions = hosted.default_size, hosted.num_conditions

    def check_size(self, size: Size) -> None:
        """See `FusionModel`."""
        self.hosted.accepted.check(size)

    def told(self, rows: Sequence[Told], size: Size) -> PromptedModel:
        """See `FusionModel`."""
        return PromptedModel(RemoteDenoiser(self.host, rows, size), self.space, self.hosted.schedule, size)


def spread_members(file: Path, device: str) -> dict[str, Member]:
    """Every member that a file declares, each loaded by a host of its own, all at the same time.

    The file, and the folders that it names, must be there on every machine of the cluster. A host ends when nobody has its
    member any more.

    Raises:
        ValueError: the file is not accepted.
        RuntimeError: a member could not be loaded; it names the member.
    """
    entries = read_members(file).member
    started = ray.remote(MemberHost).options(max_restarts=-1, max_task_retries=1, **resources_of(device))
    hosts = {entry.name: started.remote(str(file), entry.name, device) for entry in entries}
    asked = {name: host.describe.remote() for name, host in hosts.items()}
    spaces: dict[str, RemoteSpace] = {}
    members = {}
    for entry in entries:
        try:
            hosted: HostedModel = ray.get(asked[entry.name])
        except ray.exceptions.RayError as error:
            raise RuntimeError(f"{file.name}: member {entry.name!r} could not be loaded: {error}") from error
        host = hosts[entry.name]
        bridge = None if entry.bridge is None else RemoteSpace(host, *hosted.space, in_bridge=True)
        space = spaces.setdefault(hosted.space_digest, RemoteSpace(host, *hosted.space, in_bridge=False))
        members[entry.name] = Member(
            name=entry.name,
            model=RemoteModel(host, hosted, space),
            role=entry.role,
            guidance=entry.guidance,
            negative=entry.negative,
            weight=entry.weight_schedule(),
            bridge=bridge,
            detectors=tuple(_detector(host, place) if has else None for place, has in enumerate(hosted.detects)),
        )
    return members


def _detector(host: Any, place: int) -> "Callable[[UInt8Images], UInt8Images]":  # noqa: ANN401 Ray's handle
    def detect(picture: "UInt8Images") -> "UInt8Images":
        made: UInt8Images = ray.get(host.detect.remote(place, picture))
        return made

    return detect


def resources_of(device: str) -> dict[str, Any]:
    """What a host asks of Ray: one GPU or NPU where the device is one, or where it is `auto` and the cluster has one."""
    known = ray.cluster_resources() if device == "auto" else {}
    if device.startswith("cuda") or known.get("GPU"):
        return {"num_cpus": 1, "num_gpus": 1}
    if device.startswith("npu") or known.get("NPU"):
        return {"num_cpus": 1, "resources": {"NPU": 1}}
    return {"num_cpus": 0.1}
