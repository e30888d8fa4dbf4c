"""What one extractor found in some images, mergeable across parts and workers in any order to the same result.

Rows are known by their keys and kept in the order of the keys' hashes, so a merge gives the same bits whatever was
merged first. Of very large sets only the rows of the smallest hashes are kept (a fixed, unbiased sample, the same for
every cut into parts), and the moments of all images beside them.
"""

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from pangu.evaluation.features import ExtractorCard, Float32Array, ImageFeatures
from pangu.evaluation.statistics import FeatureStatistics, feature_statistics, merge_statistics

Float64Array = NDArray[np.float64]


@dataclass(frozen=True)
class PartialState:
    """N images of one side (generated or reference), seen by one extractor.

    keys: the N images, in the order of their hashes. values: metric -> (N,) float64, NaN where an image has none.
    features: (M, D) float32 of the first M keys, M <= min(N, max_rows). logits: (M, C) float32, or None.
    moments: of all N images in float64, or None where the rows are complete or no metric reads them.
    max_rows: how many rows are kept at most; None keeps all. rejected: key -> why an image has no features.
    """

    card: ExtractorCard
    keys: tuple[str, ...]
    features: Float32Array
    logits: Float32Array | None = None
    values: Mapping[str, Float64Array] = field(default_factory=dict)
    moments: FeatureStatistics | None = None
    max_rows: int | None = None
    rejected: Mapping[str, str] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """N, the number of images."""
        return len(self.keys)

    @property
    def rows_are_complete(self) -> bool:
        """Whether every image's features are here."""
        return len(self.features) == len(self.keys)

    def statistics(self) -> FeatureStatistics:
        """Return mean and scatter of all images: those that were merged, or else those of the complete rows."""
        if self.moments is not None:
            return self.moments
        if not self.rows_are_complete:
            raise ValueError(f"moments: received none for {self.count} images, accepted: moments or complete rows")
        return feature_statistics(self.features)

    def select(self, keys: Collection[str]) -> "PartialState":
        """Return the state of these images alone, a stratum; a sample of rows stays a sample, moments are left out."""
        chosen = np.fromiter((key in keys for key in self.keys), dtype=bool, count=self.count)
        rows = chosen[: len(self.features)]
        return replace(
            self,
            keys=tuple(key for key, wanted in zip(self.keys, chosen, strict=True) if wanted),
            features=self.features[rows],
            logits=None if self.logits is None else self.logits[rows],
            values={name: values[chosen] for name, values in self.values.items()},
            moments=None,
            rejected={},
        )


def make_state(
    keys: Sequence[str],
    found: ImageFeatures,
    *,
    values: Mapping[str, NDArray[np.floating]] | None = None,
    keep_rows: bool = True,
    keep_logits: bool = True,
    keep_moments: bool = False,
    max_rows: int | None = None,
    rejected: Mapping[str, str] | None = None,
) -> PartialState:
    """Return the state of one batch or part; a key that is there twice is a ValueError."""
    if len(keys) != len(found):
        raise ValueError(f"keys: received {len(keys)} for {len(found)} images, accepted: as many")
    limit = max_rows if keep_rows else 0
    order = _hash_order(keys)
    kept = order[:limit]
    logits = found.logits[kept] if keep_logits and found.logits is not None else None
    return PartialState(
        card=found.card,
        keys=tuple(keys[row] for row in order),
        features=found.features[kept],
        logits=logits,
        values={name: np.asarray(each, dtype=np.float64)[order] for name, each in (values or {}).items()},
        moments=feature_statistics(found.features[order]) if keep_moments and len(found) else None,
        max_rows=limit,
        rejected=dict(rejected or {}),
    )


def merge_states(parts: Iterable[PartialState]) -> PartialState:
    """Return the state of all parts' images. Parts of other extractors, settings, or with a key in common are refused.

    Rows and values are equal bit for bit in whatever order the parts come; moments to about 1e-15 (Chan's formula).
    """
    parts = list(parts)
    if not parts:
        raise ValueError("parts: received none, accepted: 1 or more")
    _check_alike(parts)
    keys = [key for part in parts for key in part.keys]
    order = _hash_order(keys)
    row_keys = [key for part in parts for key in part.keys[: len(part.features)]]
    row_order = _hash_order(row_keys)[: parts[0].max_rows]
    logits = [part.logits for part in parts if part.logits is not None]
    moments = [part.moments for part in parts if part.moments is not None]
    return PartialState(
        card=parts[0].card,
        keys=tuple(keys[row] for row in order),
        features=np.concatenate([part.features for part in parts])[row_order],
        logits=np.concatenate(logits)[row_order] if logits else None,
        values={name: np.concatenate([part.values[name] for part in parts])[order] for name in parts[0].values},
        moments=merge_statistics(moments) if moments else None,
        max_rows=parts[0].max_rows,
        rejected={key: reason for part in parts for key, reason in part.rejected.items()},
    )


def _hash_order(keys: Sequence[str]) -> NDArray[np.int64]:
    """Return the rows in the order of their keys' hashes: (N,)."""
    if len(set(keys)) != len(keys):
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"keys: received {twice!r} twice, accepted: each image once")
    digests = [hashlib.sha256(key.encode()).digest() for key in keys]
    return np.asarray(sorted(range(len(keys)), key=digests.__getitem__), dtype=np.int64)


def _check_alike(parts: Sequence[PartialState]) -> None:
    """Refuse parts that do not belong together, by the first thing in which they differ."""
    first = parts[0]
    for part in parts[1:]:
        for name, one, other in (
            ("card", first.card, part.card),
            ("max_rows", first.max_rows, part.max_rows),
            ("values", sorted(first.values), sorted(part.values)),
        ):
            if one != other:
                raise ValueError(f"{name}: received {other} beside {one}, accepted: equal in all parts")
    filled = [part for part in parts if part.count]
    for name, given in (
        ("logits", {part.logits is None for part in filled}),
        ("moments", {part.moments is None for part in filled}),
    ):
        if len(given) > 1:
            raise ValueError(f"{name}: received some parts with and some without, accepted: all or none")
