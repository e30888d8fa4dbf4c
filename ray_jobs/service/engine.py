"""The engine of `experts`: orders to the one generator, its pictures filtered, marked, and given back as files."""

import json
import tempfile
from collections import defaultdict
from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pangu.output_filter import OutputFilter, load_filter
from pangu.provenance import Marker, OriginMark
from ray_jobs.folder_versions import fetch_version
from ray_jobs.generation_configs import Filtering, Marking
from ray_jobs.generation_plan import SQUARE_BUCKET
from ray_jobs.job_configs import Runtime
from ray_jobs.service.offer import Offer
from ray_jobs.service.orders import ImageOrder, Order
from ray_jobs.service.refusal import Refusal, refuse
from ray_jobs.service.work import End, Made, Step, Work
from ray_jobs.service.work_queue import Watch
from ray_jobs.store import Store
from ray_jobs.versions import Versions

if TYPE_CHECKING:  # torch is loaded with the model, not with the application
    from pangu.autoencoder import UInt8Images
    from pangu.generate import Generator
    from pangu.generation_request import GenerationRequest, Progress

FORMATS = {"png": "png", "jpeg": "jpg", "webp": "webp"}
ROWS_PER_BATCH = 8
"""The generator's padded batch; the shape decides bits, so it is no setting."""


@dataclass(frozen=True)
class Finish:
    """What happens to every picture before it leaves: the filter looks, then the file says that a model made it."""

    origin: OriginMark
    picture_filter: OutputFilter | None = None

    def __call__(self, order: Order, images: "Sequence[UInt8Images]") -> tuple[bytes | None, ...]:
        """Marked files, None for each blocked one. MarkingError when a mark cannot be set."""
        if not images:
            return ()
        verdicts = self.picture_filter(images) if self.picture_filter is not None else [None] * len(images)
        marker = Marker(self.origin, FORMATS[order.output_format], order.output_compression)
        return tuple(
            None if verdict is not None and verdict.blocked else marker(image).data
            for image, verdict in zip(images, verdicts, strict=True)
        )


def is_preview_step(order: Order, step: int, steps: int) -> bool:
    """Whether one of the order's partial images, spread evenly over the steps, falls on this step."""
    return any(step == round(steps * k / (order.partial_images + 1)) for k in range(1, order.partial_images + 1))


class ExpertsEngine:
    """A loaded pair."""

    def __init__(self, generator: "Generator", offer: Offer, picture_filter: OutputFilter | None = None) -> None:
        """offer: what the pair can do."""
        self.generator = generator
        self.offer = offer
        self.finish = Finish(OriginMark(Marking().system, offer.digest), picture_filter)

    def warm_up(self) -> None:
        """Run every network once, in the shapes that most orders will have."""
        order = ImageOrder(prompt="warm-up", steps=2, seed=0)
        end = self.sample([Work("", order, 0, 3600.0)], lambda _number, _step: True)[0]
        if isinstance(end, Refusal):
            raise RuntimeError(f"warm-up: {end.message}")

    def group(self, work: Work) -> Hashable:
        """Shape and number of steps."""
        order = _image_order(work)
        bucket = self.offer.bucket_of(order)
        return bucket, order.steps

    def sample(self, works: Sequence[Work], watch: Watch) -> list[End]:
        """See `Engine`."""
        from pangu.errors import RowMemoryError

        requests = [request for number, work in enumerate(works) for request in self._requests(number, work)]

        def look(progress: "Progress") -> Collection[str]:
            rows: dict[int, list[int]] = defaultdict(list)
            for row, key in enumerate(progress.keys):
                rows[int(key.partition("/")[0])].append(row)
            gone = {number for number in rows if not watch(number, self._step(works[number], progress, rows[number]))}
            return [key for key in progress.keys if int(key.partition("/")[0]) in gone]

        try:
            made = self.generator.generate(requests, watch=look)
        except RowMemoryError as error:
            made = error.made
        images: dict[int, list[UInt8Images]] = defaultdict(list)
        for picture in made:
            images[int(picture.request.key.partition("/")[0])].append(picture.image)
        return [self._end(work, images[number]) for number, work in enumerate(works)]

    def _requests(self, number: int, work: Work) -> "list[GenerationRequest]":
        from pangu.generation_request import GenerationRequest

        order = _image_order(work)
        return [
            GenerationRequest(
                key=f"{number}/{index}",
                prompt=order.prompt,
                negative=order.negative_prompt,
                seed=work.seed + index,
                bucket=self.offer.bucket_of(order),
                steps=order.steps,
                guidance=order.guidance,
                styles=order.styles,
            )
            for index in range(order.n)
        ]

    def _step(self, work: Work, progress: "Progress", rows: Sequence[int]) -> Step:
        previews: tuple[bytes | None, ...] = ()
        if is_preview_step(work.order, progress.step, progress.steps):
            previews = self.finish(work.order, [self.generator.preview(progress.x0[row]) for row in rows])
        return Step(progress.step, progress.steps, tuple(file for file in previews if file is not None))

    def _end(self, work: Work, images: "Sequence[UInt8Images]") -> End:
        if len(images) < work.order.n:
            return Refusal(503, "the pictures do not fit in the memory that is left; ask for a smaller size", "size")
        size = f"{images[0].shape[1]}x{images[0].shape[0]}"
        return Made(self.offer.model, size, self.finish(work.order, images))


def _image_order(work: Work) -> ImageOrder:
    if not isinstance(work.order, ImageOrder):
        raise refuse(400, "this model makes pictures of one prompt; fusions have a model of their own")
    return work.order


@dataclass(frozen=True)
class ExpertsLoader:
    """Finds and loads what a reference means now. filtering: what may block pictures."""

    store: Store
    reference: str
    device: str = "auto"
    filtering: Mapping[str, Any] = field(default_factory=dict)

    def find(self) -> str:
        """The key of the version that the reference means now. UnknownVersion if there is none."""
        if self.reference.partition("@")[0] != "experts":
            raise ValueError(f"PANGU_SERVE_EXPERTS = {self.reference!r}: accepted are experts or experts@VERSION")
        return Versions(self.store).resolve(self.reference).key

    def load(self, key: str) -> ExpertsEngine:
        """An engine of that version, fetched, checked and warmed up."""
        from pangu.generate import Generator
        from pangu.pipeline import load_experts
        from ray_jobs.device import torch_device

        version = Versions(self.store).resolve(f"experts@{key}")
        with tempfile.TemporaryDirectory(prefix="pangu-serve-") as name:
            folder = fetch_version(self.store, version, Path(name))
            card = json.loads((folder / "experts.json").read_text(encoding="utf-8"))
            pipeline = load_experts(folder, torch_device(Runtime.model_validate({"device": self.device})))
        offer = Offer.of_card(self.reference, version.key, version.digest, card, SQUARE_BUCKET)
        engine = ExpertsEngine(Generator(pipeline, rows_per_batch=ROWS_PER_BATCH), offer, self.make_filter())
        engine.warm_up()
        return engine

    def make_filter(self) -> OutputFilter | None:
        """What may block pictures, loaded; None without one. ValueError naming what is wrong with it."""
        chosen = Filtering.model_validate(self.filtering)
        if chosen.factory is None:
            return None
        weights = Path(chosen.weights) if chosen.weights is not None else None
        return load_filter(chosen.factory, weights, chosen.thresholds)
