"""Precision, recall, density and coverage: how much of each set lies near the other, by balls round the points.

A set's manifold is the union of balls round its points, each as wide as the distance to its k-th other point.
Precision and recall: arXiv 1904.06991, k = 3. Density and coverage: arXiv 2002.09797, k = 5.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Float64Array = NDArray[np.float64]
PRECISION_NEIGHBOURS = 3
COVERAGE_NEIGHBOURS = 5
_ROWS_AT_ONCE = 1024


@dataclass(frozen=True)
class ManifoldShares:
    """One number an image; the metrics are their means.

    precision, density: (N,) of the generated images. recall, coverage: (M,) of the reference images.
    """

    precision: Float64Array
    recall: Float64Array
    density: Float64Array
    coverage: Float64Array


def manifold_shares(generated: NDArray[Any], reference: NDArray[Any]) -> ManifoldShares:
    """Return which images lie within the other set's balls; generated (N, D), reference (M, D), 6 or more of each."""
    _check(generated, reference)
    generated, reference = generated.astype(np.float64), reference.astype(np.float64)
    own_radii = _radii(generated, (PRECISION_NEIGHBOURS,))[0]
    precise_radii, cover_radii = _radii(reference, (PRECISION_NEIGHBOURS, COVERAGE_NEIGHBOURS))
    precision, density = np.empty(len(generated)), np.empty(len(generated))
    recall, coverage = np.zeros(len(reference), dtype=bool), np.zeros(len(reference), dtype=bool)
    for rows in _slices(len(generated)):
        distances = _squared_distances(generated[rows], reference)
        precision[rows] = (distances <= precise_radii).any(axis=1)
        inside = distances <= cover_radii
        density[rows] = inside.sum(axis=1) / COVERAGE_NEIGHBOURS
        coverage |= inside.any(axis=0)
        recall |= (distances <= own_radii[rows][:, None]).any(axis=0)
    return ManifoldShares(precision, recall.astype(np.float64), density, coverage.astype(np.float64))


def nearest_by_cosine(generated: NDArray[Any], reference: NDArray[Any]) -> tuple[Float64Array, NDArray[np.int64]]:
    """Return each image's cosine distance to the nearest reference and that one's row: (N,), (N,) of (N, D), (M, D).

    A row of length 0 is at distance 1 from everything.
    """
    if generated.ndim != 2 or reference.ndim != 2 or generated.shape[1] != reference.shape[1] or not len(reference):
        received = f"{generated.shape} and {reference.shape}"
        raise ValueError(f"features: received shapes {received}, accepted: (N, D) and (M, D), M >= 1")
    others = _directions(reference)
    distances, found = np.empty(len(generated)), np.empty(len(generated), dtype=np.int64)
    for rows in _slices(len(generated)):
        cosines = _directions(generated[rows]) @ others.T
        found[rows] = cosines.argmax(axis=1)
        distances[rows] = 1.0 - cosines.max(axis=1)
    return distances, found


def _directions(features: NDArray[Any]) -> Float64Array:
    """Return the rows divided by their lengths, rows of length 0 as they are."""
    values = features.astype(np.float64)
    lengths = np.linalg.norm(values, axis=1, keepdims=True)
    directions: Float64Array = values / np.where(lengths > 0.0, lengths, 1.0)
    return directions


def _radii(features: Float64Array, neighbours: tuple[int, ...]) -> list[Float64Array]:
    """Return each point's squared distance to its k-th other point, for every k."""
    radii = [np.empty(len(features)) for _ in neighbours]
    for rows in _slices(len(features)):
        distances = _squared_distances(features[rows], features)
        # The point itself is the nearest of all, whatever rounding made of its distance of 0.
        distances[np.arange(len(distances)), np.arange(rows.start, rows.start + len(distances))] = -1.0
        ordered = np.partition(distances, neighbours, axis=1)
        for radius, k in zip(radii, neighbours, strict=True):
            radius[rows] = ordered[:, k]
    return radii


def _squared_distances(first: Float64Array, second: Float64Array) -> Float64Array:
    """Return |x - y|^2 for every pair: (N, M)."""
    lengths = (first**2).sum(axis=1)[:, None] + (second**2).sum(axis=1)
    distances: Float64Array = np.maximum(lengths - 2.0 * first @ second.T, 0.0)
    return distances


def _slices(total: int) -> list[slice]:
    return [slice(start, min(start + _ROWS_AT_ONCE, total)) for start in range(0, total, _ROWS_AT_ONCE)]


def _check(generated: NDArray[Any], reference: NDArray[Any]) -> None:
    """Refuse sets that have no manifold."""
    if generated.ndim != 2 or reference.ndim != 2 or generated.shape[1] != reference.shape[1]:
        received = f"{generated.shape} and {reference.shape}"
        raise ValueError(f"features: received shapes {received}, accepted: (N, D) with equal D")
    if min(len(generated), len(reference)) <= COVERAGE_NEIGHBOURS:
        received = f"{len(generated)} and {len(reference)}"
        raise ValueError(f"features: received {received} rows, accepted: {COVERAGE_NEIGHBOURS + 1} or more of each")
