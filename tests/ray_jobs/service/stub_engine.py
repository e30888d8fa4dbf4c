"""A small real engine without networks: it takes the time it is told to, counts its steps, and draws flat pictures."""

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pangu.provenance import OriginMark
from ray_jobs.service.engine import Finish, is_preview_step
from ray_jobs.service.offer import Offer
from ray_jobs.service.work import Made, Step


@dataclass
class StubEngine:
    """step_s: of a step of a whole batch, whatever its size. Pictures show their version and seed."""

    offer: Offer
    step_s: float

    def group(self, work):
        return self.offer.bucket_of(work.order), work.order.steps

    def sample(self, works, watch):
        finish = Finish(OriginMark("stub", self.offer.digest))
        going = set(range(len(works)))
        steps = works[0].order.steps
        for step in range(1, steps + 1):
            if not going:
                break
            time.sleep(self.step_s)
            for number in sorted(going):
                order = works[number].order
                images = [self.draw(works[number].seed)] if is_preview_step(order, step, steps) else []
                if not watch(number, Step(step, steps, finish(order, images))):
                    going.remove(number)
        return [
            Made(self.offer.model, "64x64", finish(w.order, [self.draw(w.seed + n) for n in range(w.order.n)]))
            for w in works
        ]

    def draw(self, seed):
        return np.full((64, 64, 3), (len(self.offer.key), seed % 256, seed // 256 % 256), np.uint8)


@dataclass(frozen=True)
class StubLoader:
    """Serves the version whose key stands in a file."""

    file: Path
    step_s: float = 0.05
    load_s: float = 0.0

    def find(self):
        return self.file.read_text().strip()

    def load(self, key):
        time.sleep(self.load_s)
        sizes = {"64x64": 0, "128x32": 1}
        offer = Offer(
            reference="experts@champion",
            key=key,
            digest=f"digest-of-{key}",
            sizes=sizes,
            default_size="64x64",
            styles=("cartoon",),
        )
        return StubEngine(offer, self.step_s)
