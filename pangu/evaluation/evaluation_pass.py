"""One pass over decoded images: every extractor once, each image's own values, and states that merge.

A worker makes one pass object, runs it on the images of its part, and hands back the states (`state_to_bytes`); the
driver merges them and evaluates. The reference goes through the same object, without prompts.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pangu.evaluation.features import FeatureExtractor, ImageFeatures, UInt8Image
from pangu.evaluation.metric import Float64Array, ImageMetric, Metric, PromptBatch, TextEmbedder
from pangu.evaluation.partial_state import PartialState, make_state, merge_states

NOT_RGB8 = "not_rgb8"
NOT_FINITE = "features_not_finite"

States = dict[str, PartialState]


class EvaluationPass:
    """The extractors that some metrics need, under the names by which those metrics know them.

    text_embedders: name of an extractor -> its text tower, texts to (N, E). max_rows: how many images' features are
    kept (the rest counts through moments alone); None keeps all, 8 KiB an image for 2048 dimensions.
    """

    def __init__(
        self,
        extractors: Mapping[str, FeatureExtractor],
        metrics: Sequence[Metric],
        *,
        text_embedders: Mapping[str, TextEmbedder] | None = None,
        max_rows: int | None = None,
    ) -> None:
        """Keep the extractors that a metric reads; a metric whose extractor is missing is a ValueError."""
        missing = sorted({metric.extractor for metric in metrics} - set(extractors))
        if missing:
            raise ValueError(f"extractors: received {sorted(extractors)}, accepted: {missing[0]!r} among them too")
        if max_rows is not None and max_rows < 2:
            raise ValueError(f"max_rows: received {max_rows}, accepted: 2 or more, or None for all")
        read = {metric.extractor for metric in metrics}
        self.extractors = {name: each for name, each in extractors.items() if name in read}
        self.metrics = tuple(metrics)
        self._text_embedders = dict(text_embedders or {})
        self._max_rows = max_rows

    def run(
        self,
        keys: Sequence[str],
        images: Sequence[UInt8Image],
        *,
        prompts: Sequence[str | None] | None = None,
        languages: Sequence[str | None] | None = None,
    ) -> States:
        """Return one state an extractor. images: (H, W, 3) uint8 sRGB of any sizes; prompts, languages: one an image.

        An image that no extractor can take is no error: it is named in `rejected` with its reason.
        """
        prompts, languages = prompts or [None] * len(keys), languages or [None] * len(keys)
        if not len(keys) == len(images) == len(prompts) == len(languages):
            received = f"{len(keys)} keys, {len(images)} images, {len(prompts)} prompts, {len(languages)} languages"
            raise ValueError(f"images: received {received}, accepted: as many of each")
        return {
            name: self._run_extractor(name, extractor, keys, images, prompts, languages)
            for name, extractor in self.extractors.items()
        }

    def _run_extractor(
        self,
        name: str,
        extractor: FeatureExtractor,
        keys: Sequence[str],
        images: Sequence[UInt8Image],
        prompts: Sequence[str | None],
        languages: Sequence[str | None],
    ) -> PartialState:
        metrics = [metric for metric in self.metrics if metric.extractor == name]
        rows, found, rejected = _extract_good(extractor, images)
        batch = PromptBatch(tuple(prompts[row] for row in rows), tuple(languages[row] for row in rows))
        image_metrics = [metric for metric in metrics if isinstance(metric, ImageMetric)]
        if image_metrics and name in self._text_embedders:
            embeddings = embed_once(self._text_embedders[name], batch.prompts, found.card.num_dims)
            batch = PromptBatch(batch.prompts, batch.languages, embeddings)
        values: dict[str, Float64Array] = {each.name: each.image_values(found, batch) for each in image_metrics}
        keep_rows = any(metric.needs.rows for metric in metrics)
        incomplete = self._max_rows is not None or not keep_rows
        return make_state(
            [keys[row] for row in rows],
            found,
            values=values,
            keep_rows=keep_rows,
            keep_logits=any(metric.needs.logits for metric in metrics),
            keep_moments=incomplete and any(metric.needs.moments for metric in metrics),
            max_rows=self._max_rows,
            rejected={keys[row]: reason for row, reason in rejected.items()},
        )


def merge_passes(parts: Iterable[Mapping[str, PartialState]]) -> States:
    """Return the states of all parts' images, extractor by extractor, in whatever order the parts come."""
    parts = list(parts)
    names = {name for part in parts for name in part}
    unequal = [sorted(part) for part in parts if set(part) != names]
    if not parts or unequal:
        raise ValueError(
            f"parts: received extractors {unequal[:1]}, accepted: {sorted(names)} in all of 1 or more parts"
        )
    return {name: merge_states(part[name] for part in parts) for name in parts[0]}


def embed_once(embed: TextEmbedder, prompts: Sequence[str | None], num_dims: int) -> NDArray[Any]:
    """Return the prompts' embeddings (N, E), each different prompt embedded once; zeros where there is none."""
    different = sorted({prompt for prompt in prompts if prompt is not None})
    if not different:
        return np.zeros((len(prompts), num_dims), dtype=np.float32)
    embedded = np.asarray(embed(different))
    row_of = {prompt: row for row, prompt in enumerate(different)}
    found = np.zeros((len(prompts), embedded.shape[1]), dtype=embedded.dtype)
    for row, prompt in enumerate(prompts):
        if prompt is not None:
            found[row] = embedded[row_of[prompt]]
    return found


def _extract_good(
    extractor: FeatureExtractor, images: Sequence[UInt8Image]
) -> tuple[list[int], ImageFeatures, dict[int, str]]:
    """Return the rows that gave features, these features, and the other rows with their reason."""
    rejected = {
        row: NOT_RGB8
        for row, image in enumerate(images)
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or 0 in image.shape
    }
    rows = [row for row in range(len(images)) if row not in rejected]
    try:
        return rows, extractor.extract([images[row] for row in rows]), rejected
    except ValueError:
        # One picture spoils its batch: look at them one by one, which is the boundary of a record.
        for row in rows:
            try:
                extractor.extract([images[row]])
            except ValueError:
                rejected[row] = NOT_FINITE
        rows = [row for row in rows if row not in rejected]
        return rows, extractor.extract([images[row] for row in rows]), rejected
