"""The interface of a metric: a name, the extractor it reads, what it needs of it, and a value from merged states."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from pangu.evaluation.features import ImageFeatures
from pangu.evaluation.intervals import Interval
from pangu.evaluation.partial_state import PartialState

Float64Array = NDArray[np.float64]
TextEmbedder = Callable[[Sequence[str]], NDArray[Any]]


@dataclass(frozen=True)
class Needs:
    """What a state must hold for a metric. rows: every image's features; logits: of a classifier; moments: in float64."""

    rows: bool = False
    logits: bool = False
    moments: bool = False


@dataclass(frozen=True)
class Measurement:
    """One number of one metric, over n generated images; notes: what would mislead whoever reads it alone."""

    metric: str
    interval: Interval
    n: int
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class PromptBatch:
    """What the images of a batch were made from, each (N,) long; an image without a prompt has None.

    embeddings: (N, E) by the extractor's own text tower, zeros where there is no prompt; None without a text tower.
    """

    prompts: tuple[str | None, ...]
    languages: tuple[str | None, ...]
    embeddings: NDArray[Any] | None = None


class Metric(Protocol):
    """A metric; a new one is one small class with these four."""

    @property
    def name(self) -> str:
        """Its name in the `metric` column, or the first of its names."""
        ...

    @property
    def extractor(self) -> str:
        """Which extractor of the pass it reads, by the name that the pass gives it."""
        ...

    @property
    def needs(self) -> Needs:
        """What it reads of that extractor's state."""
        ...

    def compute(self, generated: PartialState, reference: PartialState | None, *, seed: int = 0) -> list[Measurement]:
        """Return its numbers with their intervals; none where there is nothing to measure."""
        ...


@runtime_checkable
class ImageMetric(Metric, Protocol):
    """A metric that is a mean over images: it gives each image's own value during the pass."""

    def image_values(self, found: ImageFeatures, batch: PromptBatch) -> Float64Array:
        """Return (N,) values, NaN for an image that has none."""
        ...
