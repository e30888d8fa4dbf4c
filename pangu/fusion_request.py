"""What is asked of a fusion, and the one call that makes the pictures.

members = load_members(Path("members.toml"))                                    # pangu.member_file
request = FusionRequest(
    members=(
        MemberRequest("layout", prompt="a large star"),
        MemberRequest("colours", prompt="红色的东西，沙滩背景", weight=WeightSchedule.fading(0.5)),
    ),
    seed=7,
    steps=30,
)
picture = fuse(members, [request])[0]                                           # (H, W, 3) uint8
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch

from pangu.autoencoder import UInt8Images, to_uint8
from pangu.condition_detectors import Detector
from pangu.fusion import FusionPart, WeightSchedule, fuse_models
from pangu.latent_bridge import LatentSpace, Size
from pangu.prompted_model import PromptedModel, StepHook, run_steps
from pangu.samplers import SamplerName

DEFAULT_WEIGHT = WeightSchedule.fading(0.5)


@dataclass(frozen=True)
class Told:
    """What a model is told of one picture.

    guidance: s of classifier-free guidance, 1 for none. condition_images: (H, W, 3) uint8, one for each ControlNet or
    image input that the model has, resized to what it needs. condition_scales: how strongly each counts; all 1 when empty.
    """

    prompt: str = ""
    negative: str = ""
    guidance: float = 1.0
    condition_images: tuple[UInt8Images, ...] = ()
    condition_scales: tuple[float, ...] = ()


class FusionModel(Protocol):
    """A pretrained model that can be told what to draw.

    default_size: (height, width) px where nobody names one. num_conditions: condition images that it needs.
    """

    @property
    def space(self) -> LatentSpace:
        """Of its latents."""
        ...

    @property
    def default_size(self) -> Size:
        """See the class."""
        ...

    @property
    def num_conditions(self) -> int:
        """See the class."""
        ...

    def check_size(self, size: Size) -> None:
        """Refuse a size that it cannot draw: ValueError names it and what is accepted."""
        ...

    def told(self, rows: Sequence[Told], size: Size) -> PromptedModel:
        """Itself with these rows' conditioning inside; rows share guidance and scales."""
        ...


@dataclass(frozen=True)
class Member:
    """A loaded model under its name, with what counts where a request says nothing.

    role: for people. bridge: a space that stands in for the model's own inside the bridge. weight: d(t) where it does
    not lead. detectors: what makes each condition image of a picture, None where it must be given ready; empty for none.
    """

    name: str
    model: FusionModel
    role: str = ""
    guidance: float = 3.0
    negative: str = ""
    weight: WeightSchedule = DEFAULT_WEIGHT
    bridge: LatentSpace | None = None
    detectors: tuple[Detector | None, ...] = ()


@dataclass(frozen=True)
class MemberRequest:
    """One member's part in a picture; what is None is the member's own default.

    weight: d(t); None for the first member of a request, which leads. size: (height, width) px of its own latents. detect:
    condition_images are ordinary pictures, and the member's detectors make of them what it follows.
    """

    name: str
    prompt: str = ""
    negative: str | None = None
    guidance: float | None = None
    weight: WeightSchedule | None = None
    condition_images: tuple[UInt8Images, ...] = ()
    condition_scales: tuple[float, ...] = ()
    size: Size | None = None
    detect: bool = False


@dataclass(frozen=True)
class FusionRequest:
    """One picture. The first member leads: its size and schedule are the picture's.

    size: (height, width) px for all members that name none of their own; None for each one's default. bridge_every: see
    `pangu.fusion`. sampler: steps all members alike.
    """

    members: tuple[MemberRequest, ...]
    seed: int = 0
    steps: int = 30
    size: Size | None = None
    bridge_every: int = 1
    sampler: SamplerName = SamplerName.DDIM


def fuse(
    members: Mapping[str, Member],
    requests: Sequence[FusionRequest],
    on_step: StepHook | None = None,
    *,
    rows_per_batch: int = 1,
) -> list[UInt8Images]:
    """One picture (H, W, 3) uint8 a request, in order.

    Requests that differ in nothing but words, seeds and condition images run together, `rows_per_batch` at a time; the last
    batch is padded, so that a picture does not depend on its company. on_step: told (step, total, preview) for each batch.

    Raises:
        ValueError: a request asks for what its members cannot do; it names the field.
    """
    groups: dict[object, list[int]] = {}
    for request in requests:
        check_request(members, request)
    requests = [with_conditions(members, request) for request in requests]
    for place, request in enumerate(requests):
        groups.setdefault(batch_key(members, request), []).append(place)
    made: dict[int, UInt8Images] = {}
    for places in groups.values():
        for start in range(0, len(places), rows_per_batch):
            batch = places[start : start + rows_per_batch]
            padded = [*batch, *[batch[-1]] * (rows_per_batch - len(batch))]
            images = fuse_batch(members, [requests[place] for place in padded], on_step)
            made |= {place: image for place, image in zip(batch, images[: len(batch)], strict=True)}
    return [made[place] for place in range(len(requests))]


def with_conditions(members: Mapping[str, Member], request: FusionRequest) -> FusionRequest:
    """The checked request with condition images in place of the pictures that they are made of."""

    def ready(asked: MemberRequest) -> MemberRequest:
        if not asked.detect:
            return asked
        pairs = zip(members[asked.name].detectors, asked.condition_images, strict=True)
        images = tuple(picture if detector is None else detector(picture) for detector, picture in pairs)
        return replace(asked, condition_images=images, detect=False)

    return replace(request, members=tuple(ready(asked) for asked in request.members))


@torch.inference_mode()
def fuse_batch(
    members: Mapping[str, Member], requests: Sequence[FusionRequest], on_step: StepHook | None = None
) -> UInt8Images:
    """Pictures (B, H, W, 3) of checked requests with one `batch_key`, which step together."""
    fused = fused_model(members, requests)
    first = requests[0]
    start = fused.noise([request.seed for request in requests])
    timesteps = fused.schedule.sampling_timesteps(first.steps)
    latents = run_steps(fused, start, timesteps, sampler=first.sampler, on_step=on_step)
    return to_uint8(fused.space.decode(latents))


def fused_model(members: Mapping[str, Member], requests: Sequence[FusionRequest]) -> PromptedModel:
    """The fusion of requests with one `batch_key` as a model told all of them; for one trajectory."""
    parts = []
    for number, asked in enumerate(requests[0].members):
        member = members[asked.name]
        rows = [_told(member, request.members[number]) for request in requests]
        weight = None if number == 0 else asked.weight or member.weight
        model = member.model.told(rows, size_of(member, asked, requests[0]))
        parts.append(FusionPart(model, weight, member.bridge))
    return fuse_models(parts, every=requests[0].bridge_every)


def size_of(member: Member, asked: MemberRequest, request: FusionRequest) -> Size:
    """(height, width) px that a member works at."""
    return asked.size or request.size or member.model.default_size


def batch_key(members: Mapping[str, Member], request: FusionRequest) -> object:
    """What requests must share to step together; hashable."""
    parts = []
    for number, asked in enumerate(request.members):
        member = members[asked.name]
        told = _told(member, asked)
        weight = None if number == 0 else asked.weight or member.weight
        parts.append((asked.name, weight, told.guidance, told.condition_scales, size_of(member, asked, request)))
    return tuple(parts), request.steps, request.bridge_every, request.sampler


def check_request(members: Mapping[str, Member], request: FusionRequest) -> None:
    """Refuse what cannot be made.

    Raises:
        ValueError: naming the field, its value and what is accepted.
    """
    if not request.members:
        raise ValueError("members: got none, expected at least one")
    if not 1 <= request.steps <= 1000:
        raise ValueError(f"steps: got {request.steps}, expected 1 to 1000")
    if not 0 <= request.seed < 2**63:
        raise ValueError(f"seed: got {request.seed}, expected 0 to 2**63 - 1")
    if request.bridge_every < 1:
        raise ValueError(f"bridge_every: got {request.bridge_every}, expected at least 1")
    for number, asked in enumerate(request.members):
        where = f"members[{number}]"
        if asked.name not in members:
            raise ValueError(f"{where}.name: got {asked.name!r}, expected one of {sorted(members)}")
        if number == 0 and asked.weight is not None:
            raise ValueError(f"{where}.weight: got one, expected none: the first member has what the others leave")
        member = members[asked.name]
        _check_member(where, member, asked)
        try:
            member.model.check_size(size_of(member, asked, request))
        except ValueError as error:
            raise ValueError(f"{where}.{error}") from error


def _check_member(where: str, member: Member, asked: MemberRequest) -> None:
    guidance = member.guidance if asked.guidance is None else asked.guidance
    if not 0 <= guidance < float("inf"):
        raise ValueError(f"{where}.guidance: got {guidance}, expected a number of at least 0")
    wanted = member.model.num_conditions
    if len(asked.condition_images) != wanted:
        raise ValueError(
            f"{where}.condition_images: got {len(asked.condition_images)}, expected {wanted} for {member.name}"
        )
    for image in asked.condition_images:
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != "uint8":
            raise ValueError(
                f"{where}.condition_images: got {image.shape} {image.dtype}, expected (height, width, 3) uint8"
            )
    if asked.detect and (not member.detectors or None in member.detectors):
        raise ValueError(f"{where}.detect: got true, expected false: {member.name} has no detector for its images")
    if len(asked.condition_scales) not in (0, wanted):
        raise ValueError(f"{where}.condition_scales: got {len(asked.condition_scales)}, expected none or {wanted}")


def _told(member: Member, asked: MemberRequest) -> Told:
    told = Told(
        prompt=asked.prompt,
        negative=member.negative if asked.negative is None else asked.negative,
        guidance=member.guidance if asked.guidance is None else asked.guidance,
        condition_images=asked.condition_images,
    )
    return replace(told, condition_scales=asked.condition_scales or (1.0,) * member.model.num_conditions)
