"""The engine of fusions: orders to `pangu.fusion_request`, over the members of a file or the served pair alone."""

import hashlib
import json
import tempfile
from collections import defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from pangu.output_filter import OutputFilter
from pangu.provenance import OriginMark
from ray_jobs.folder_versions import fetch_version
from ray_jobs.generation_configs import Marking
from ray_jobs.job_configs import Runtime
from ray_jobs.service.engine import ExpertsLoader, Finish, is_preview_step
from ray_jobs.service.fusion_orders import FusionOrder
from ray_jobs.service.refusal import Refusal, refuse
from ray_jobs.service.work import End, Made, Step, Work
from ray_jobs.service.work_queue import Watch
from ray_jobs.versions import Versions

if TYPE_CHECKING:  # torch is loaded with the members, not with the application
    from pangu.autoencoder import UInt8Images
    from pangu.fusion_request import FusionRequest, Member

EXPERTS_ALONE = "experts"
"""In place of a member file: the served pair is the only member, and may take several parts in a picture."""


class MemberOffer(BaseModel):
    """What a member is, for whoever orders. size: "WIDTHxHEIGHT" where nobody names one. conditions: images it needs.

    detects: whether it makes them of ordinary pictures.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    role: str
    size: str
    guidance: float
    conditions: int
    detects: bool = False


class FusionOffer(BaseModel):
    """All of them. key: digest of their declaration."""

    model_config = ConfigDict(frozen=True)

    key: str
    members: tuple[MemberOffer, ...]

    @property
    def model(self) -> str:
        """What answers say made a picture."""
        return f"fusion@{self.key}"


class _GivenUpError(Exception):
    """Nobody wants any picture of a batch."""


class FusionEngine:
    """Loaded members."""

    def __init__(
        self, members: "Mapping[str, Member]", key: str, *, rows: int = 1, picture_filter: OutputFilter | None = None
    ) -> None:
        """rows: pictures that step together, padded to so many: 1 on a CPU, where company gains nothing."""
        self.members, self.rows = members, rows
        found = [
            MemberOffer(
                name=member.name,
                role=member.role,
                size="x".join(map(str, reversed(member.model.default_size))),
                guidance=member.guidance,
                conditions=member.model.num_conditions,
                detects=bool(member.detectors) and None not in member.detectors,
            )
            for member in members.values()
        ]
        self.offer = FusionOffer(key=key, members=tuple(found))
        self.finish = Finish(OriginMark(Marking().system, self.offer.model), picture_filter)

    def group(self, work: Work) -> Hashable:
        """Members, their settings, size and steps."""
        from pangu.fusion_request import batch_key, check_request

        request = self._request(work, 0)
        try:
            check_request(self.members, request)
            self._check_weights(request)
        except ValueError as error:
            sentence = str(error)
            raise refuse(400, sentence, sentence.partition(":")[0]) from None
        key: Hashable = batch_key(self.members, request)
        return key

    def sample(self, works: Sequence[Work], watch: Watch) -> list[End]:
        """See `Engine`; one batch of pictures after the other."""
        from pangu.fusion_request import fuse

        todo = [(number, index) for number, work in enumerate(works) for index in range(work.order.n)]
        images: dict[int, list[UInt8Images]] = defaultdict(list)
        gone: set[int] = set()
        while todo:
            batch, todo = todo[: self.rows], todo[self.rows :]
            requests = [self._request(works[number], index) for number, index in batch]
            on_step = self._hook(works, batch, {number: len(images[number]) for number, _ in batch}, gone, watch)
            try:
                made = fuse(self.members, requests, on_step, rows_per_batch=self.rows)
            except _GivenUpError:
                made = []
            for (number, _), image in zip(batch, made, strict=False):
                images[number].append(image)
            todo = [row for row in todo if row[0] not in gone]
        return [self._end(work, images[number]) for number, work in enumerate(works)]

    def _check_weights(self, request: "FusionRequest") -> None:
        """Refuse weights that are above 1 together: straight lines between points are highest at one of them."""
        from pangu.noise_schedule import NoiseSchedule

        schedule = NoiseSchedule()
        weights = [asked.weight or self.members[asked.name].weight for asked in request.members[1:]]
        for t in sorted({min(max(place, 0.0), 999.0) for weight in weights for place, _ in weight.points}):
            total = sum(weight.at(t, schedule) for weight in weights)
            if total > 1 + 1e-9:
                raise ValueError(f"weights: {total:.4g} together at timestep {t:g}; accepted is up to 1")

    def _hook(
        self,
        works: Sequence[Work],
        batch: Sequence[tuple[int, int]],
        done: Mapping[int, int],
        gone: set[int],
        watch: Watch,
    ) -> "Callable[[int, int, Callable[[], UInt8Images]], None]":
        rows: dict[int, list[int]] = defaultdict(list)
        for row, (number, _) in enumerate(batch):
            rows[number].append(row)

        def on_step(step: int, steps: int, preview: "Callable[[], UInt8Images]") -> None:
            for number in sorted(set(rows) - gone):
                order = works[number].order
                files: tuple[bytes | None, ...] = ()
                if is_preview_step(order, step, steps):
                    files = self.finish(order, [preview()[row] for row in rows[number]])
                told = Step(
                    done[number] * steps + step, order.n * steps, tuple(file for file in files if file is not None)
                )
                if not watch(number, told):
                    gone.add(number)
            if set(rows) <= gone:
                raise _GivenUpError

        return on_step

    def _request(self, work: Work, index: int) -> "FusionRequest":
        from pangu.fusion_request import FusionRequest, MemberRequest

        order = work.order
        if not isinstance(order, FusionOrder):
            raise refuse(400, "this model makes fusions; pictures of one prompt have a model of their own")
        images = work.images or ((),) * len(order.members)
        members = tuple(
            MemberRequest(
                name=member.name,
                prompt=member.prompt,
                negative=member.negative_prompt,
                guidance=member.guidance,
                weight=_schedule(member.weight),
                condition_images=tuple(images[number]),
                condition_scales=member.condition_scales,
                detect=member.detect,
            )
            for number, member in enumerate(order.members)
        )
        return FusionRequest(
            members=members,
            seed=work.seed + index,
            steps=order.steps,
            size=_size(order.size),
            bridge_every=order.bridge_every,
        )

    def _end(self, work: Work, images: "Sequence[UInt8Images]") -> End:
        if len(images) < work.order.n:
            return Refusal(409, "given up")
        size = f"{images[0].shape[1]}x{images[0].shape[0]}"
        return Made(self.offer.model, size, self.finish(work.order, images))

    def warm_up(self) -> None:
        """Run every member that needs no image once."""
        names = [member.name for member in self.offer.members if not member.conditions]
        if names:
            parts = [
                {"name": name, "prompt": "warm-up", **({"weight": 0.1} if n else {})} for n, name in enumerate(names)
            ]
            order = FusionOrder.model_validate({"members": parts[:6], "steps": 2})
            end = self.sample([Work("", order, 0, 3600.0)], lambda _number, _step: True)[0]
            if isinstance(end, Refusal):
                raise RuntimeError(f"warm-up: {end.message}")


def _schedule(weight: Any) -> Any:  # noqa: ANN401 a WeightSchedule or None
    from pangu.weight_schedule import WeightSchedule

    if weight is None:
        return None
    return WeightSchedule(weight) if isinstance(weight, tuple) else WeightSchedule.fading(weight)


def _size(text: str) -> tuple[int, int] | None:
    """(height, width) of "WIDTHxHEIGHT"; None for "auto". Refused, 400, for anything else."""
    if text == "auto":
        return None
    width, cross, height = text.partition("x")
    if not (cross and width.isascii() and height.isascii() and width.isdigit() and height.isdigit()):
        raise refuse(400, f"size = {text!r}: accepted are auto and WIDTHxHEIGHT", "size")
    if not (16 <= int(width) <= 4096 and 16 <= int(height) <= 4096):
        raise refuse(400, f"size = {text!r}: accepted are 16 to 4096 px a side", "size")
    return int(height), int(width)


@dataclass(frozen=True)
class FusionLoader:
    """Loads the members of a file; for `experts` in place of one, the pair that the other loader finds.

    spread: each member of a file in a process of its own, see `member_hosts`.
    """

    members: str
    experts: ExpertsLoader
    rows: int = field(default=1)
    spread: bool = False

    def find(self) -> str:
        """What decides the members: the file's content, or the pair's key."""
        if self.members == EXPERTS_ALONE:
            return self.experts.find()
        return hashlib.sha256(Path(self.members).read_bytes()).hexdigest()[:16]

    def load(self, key: str) -> FusionEngine:
        """Every member, on the device, warmed up."""
        from ray_jobs.device import torch_device

        device = torch_device(Runtime.model_validate({"device": self.experts.device}))
        if self.members == EXPERTS_ALONE:
            engine = self._load_pair(key, device)
        elif self.spread:
            engine = self._spread(Path(self.members), key)
        else:
            engine = self._engine(Path(self.members), key, device)
        engine.warm_up()
        return engine

    def _spread(self, file: Path, key: str) -> FusionEngine:
        from ray_jobs.service.member_hosts import resources_of, spread_members

        rows = max(self.rows, 4) if resources_of(self.experts.device) != resources_of("cpu") else self.rows
        members = spread_members(file, self.experts.device)
        return FusionEngine(members, key, rows=rows, picture_filter=self.experts.make_filter())

    def _load_pair(self, key: str, device: str) -> FusionEngine:
        version = Versions(self.experts.store).resolve(f"experts@{key}")
        with tempfile.TemporaryDirectory(prefix="pangu-serve-") as name:
            fetch_version(self.experts.store, version, Path(name) / "pair")
            entry = {"name": EXPERTS_ALONE, "source": "pair", "role": "the served pair"}
            file = Path(name) / "members.json"
            file.write_text(json.dumps({"member": [entry]}), encoding="utf-8")
            return self._engine(file, key, device)

    def _engine(self, file: Path, key: str, device: str) -> FusionEngine:
        from pangu.member_file import load_members

        rows = self.rows if device == "cpu" else max(self.rows, 4)
        members = load_members(file, device=device)
        return FusionEngine(members, key, rows=rows, picture_filter=self.experts.make_filter())
