"""Metrics that are means over images: CLIP score in any language, and heads such as aesthetic mean and cartoon rate."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pangu.evaluation.clip_score import clip_scores
from pangu.evaluation.features import ImageFeatures
from pangu.evaluation.intervals import bootstrap_mean, rate_interval
from pangu.evaluation.metric import Float64Array, Measurement, Needs, PromptBatch
from pangu.evaluation.partial_state import PartialState


@dataclass(frozen=True)
class ClipScore:
    """CLIP score of an extractor whose text tower the pass has; language: only prompts of that language, or all.

    For the Chinese counterpart: a Chinese CLIP, `ClipScore("clip_zh", name="cn_clip_score", language="zh")`.
    """

    extractor: str
    name: str = "clip_score"
    language: str | None = None

    @property
    def needs(self) -> Needs:
        """Nothing but the images' own values."""
        return Needs()

    def image_values(self, found: ImageFeatures, batch: PromptBatch) -> Float64Array:
        """Return 100 max(cos, 0) of each image and its prompt, NaN without a prompt of the language."""
        values = np.full(len(found), np.nan)
        chosen = np.asarray(
            [
                prompt is not None and self.language in (None, language)
                for prompt, language in zip(batch.prompts, batch.languages, strict=True)
            ],
            dtype=bool,
        )
        if chosen.any():
            if batch.embeddings is None:
                raise ValueError(f"text_embedders: received none for {self.extractor!r}, accepted: its text tower")
            values[chosen] = clip_scores(found.features[chosen], batch.embeddings[chosen])
        return values

    def compute(self, generated: PartialState, reference: PartialState | None, *, seed: int = 0) -> list[Measurement]:
        """Return the mean with its bootstrap interval over images."""
        return mean_over_images(self.name, generated, seed)


@dataclass(frozen=True)
class GivenMean:
    """The mean of values that the caller put into the state itself, from a column of the rows."""

    extractor: str
    name: str

    @property
    def needs(self) -> Needs:
        """Nothing but the images' own values."""
        return Needs()

    def compute(self, generated: PartialState, reference: PartialState | None, *, seed: int = 0) -> list[Measurement]:
        """Return the mean with its bootstrap interval over images."""
        return mean_over_images(self.name, generated, seed)


@dataclass(frozen=True)
class HeadMean:
    """The mean of a head over the extractor's features, such as an aesthetic score. head: (N, D) to (N,)."""

    extractor: str
    name: str
    head: Callable[[NDArray[Any]], NDArray[Any]]

    @property
    def needs(self) -> Needs:
        """Nothing but the images' own values."""
        return Needs()

    def image_values(self, found: ImageFeatures, batch: PromptBatch) -> Float64Array:
        """Return the head's value of each image."""
        return np.asarray(self.head(found.features), dtype=np.float64).reshape(len(found))

    def compute(self, generated: PartialState, reference: PartialState | None, *, seed: int = 0) -> list[Measurement]:
        """Return the mean with its bootstrap interval over images."""
        return mean_over_images(self.name, generated, seed)


@dataclass(frozen=True)
class HeadRate(HeadMean):
    """The share of images whose head value is at least `threshold`, such as the cartoon rate."""

    threshold: float = 0.5

    def compute(self, generated: PartialState, reference: PartialState | None, *, seed: int = 0) -> list[Measurement]:
        """Return the share with Wilson's interval."""
        values = _finite_values(self.name, generated)
        if not len(values):
            return []
        interval = rate_interval(int((values >= self.threshold).sum()), len(values))
        return [Measurement(self.name, interval, len(values), (f"Counted from {self.threshold:g} on.",))]


def mean_over_images(name: str, state: PartialState, seed: int) -> list[Measurement]:
    """Return the mean of the images' own values with its bootstrap interval; nothing where no image has one."""
    values = _finite_values(name, state)
    return [Measurement(name, bootstrap_mean(values, seed=seed), len(values))] if len(values) else []


def _finite_values(name: str, state: PartialState) -> Float64Array:
    values = state.values.get(name, np.empty(0))
    return values[np.isfinite(values)]
