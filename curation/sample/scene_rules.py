"""Exact rules on pixels: is a colour there as a blob, and where. No learning; they stand beside the learned judge.

A pixel has a colour where that colour's shades are nearer to it, in CIELAB with lightness counted less, than every other
colour's shades and the shades of the background. A blob is the largest connected patch of such pixels.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from curation.sample.scene_painting import paint_background
from curation.sample.scene_shapes import BARK, CREAM, GLASS, Rgb, lighter
from curation.sample.scenes import COLOURS, Scene

LIGHTNESS_WEIGHT = 0.5
TOLERANCE = 20.0
"""Largest distance to a colour's nearest shade; in CIELAB units, lightness weighted."""
MIN_BLOB_SHARE = 0.006
"""Of the picture's pixels: about half of the smallest star in the longest bucket."""
MAX_SIDE_PX = 64
"""The shorter side is shrunk to this, so that one opening step takes off an ink line at every size."""
MIN_SHIFT = 0.08
"""In parts of the side: how far apart two centroids must be, or one from the middle."""

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Blob:
    """The largest patch of one colour: centroid in [0, 1] from the upper left corner, and its share of the pixels."""

    x: float
    y: float
    share: float


def weighted_lab(rgb: NDArray[Any]) -> NDArray[np.float32]:
    """(..., 3) sRGB in [0, 255] to CIELAB (D65) with the lightness times `LIGHTNESS_WEIGHT`."""
    from skimage.color import rgb2lab

    lab = rgb2lab(np.asarray(rgb, np.float32) / 255)
    return np.asarray(lab * np.array([LIGHTNESS_WEIGHT, 1, 1]), np.float32)


@lru_cache
def colour_shades() -> Mapping[str, NDArray[np.float32]]:
    """Weighted CIELAB shades (K, 3) of every colour as things show it: shaded, plain and lightened."""

    def shades(rgb: Rgb) -> NDArray[np.float32]:
        shaded = [np.array(rgb) * factor for factor in (0.6, 0.8, 1.0, 1.12)]
        return weighted_lab(np.clip([*shaded, np.array(lighter(rgb, 0.3))], 0, 255))

    return {name: shades(rgb) for name, rgb in COLOURS.items() if name != "black"} | {
        "black": weighted_lab(np.array([COLOURS["black"], (20, 20, 24), (60, 60, 66)]))
    }


@lru_cache
def background_shades(name: str) -> NDArray[np.float32]:
    """Weighted CIELAB shades (K, 3) of an empty background and its shadows, with bark, cream and glass."""
    painted = [np.asarray(paint_background(name, (64, 64), np.random.default_rng(seed))) for seed in range(4)]
    pixels = np.concatenate([image.reshape(-1, 3) for image in painted]).astype(np.float32)
    cells, counts = np.unique(np.round(pixels / 16), axis=0, return_counts=True)
    common = np.clip(cells[counts >= 12] * 16, 0, 255)
    details = np.array([BARK, CREAM, GLASS], np.float32)
    return weighted_lab(np.concatenate([common, common * 0.75, common * 0.55, details]))


def _nearest(pixels: Floats, shades: Floats) -> Floats:
    """Distance (N,) of pixels (N, 3) to the nearest of shades (K, 3)."""
    squared = (pixels**2).sum(1)[:, None] + (shades**2).sum(1)[None] - 2 * pixels @ shades.T
    distance: Floats = np.sqrt(np.clip(squared.min(1), 0, None))
    return distance


def find_blobs(image: NDArray[np.uint8], background: str) -> dict[str, Blob]:
    """The largest blob of every colour that (H, W, 3) uint8 shows before `background`; colours without one are absent."""
    from scipy import ndimage

    shrink = MAX_SIDE_PX / min(image.shape[:2])
    if shrink < 1:
        size = (round(image.shape[1] * shrink), round(image.shape[0] * shrink))
        image = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BOX))
    height, width = image.shape[:2]
    pixels = weighted_lab(image).reshape(-1, 3)
    distances = np.stack([_nearest(pixels, shades) for shades in colour_shades().values()])
    is_thing = (distances.min(0) <= TOLERANCE) & (distances.min(0) < _nearest(pixels, background_shades(background)))
    nearest = distances.argmin(0)
    found: dict[str, Blob] = {}
    for index, name in enumerate(colour_shades()):
        mask = ndimage.binary_opening((is_thing & (nearest == index)).reshape(height, width), np.ones((2, 2)))
        labels, count = ndimage.label(mask, np.ones((3, 3)))
        if not count:
            continue
        areas = np.bincount(labels.ravel())[1:]
        if areas.max() < MIN_BLOB_SHARE * height * width:
            continue
        rows, columns = np.nonzero(labels == 1 + areas.argmax())
        x, y = (float(columns.mean()) + 0.5) / width, (float(rows.mean()) + 0.5) / height
        found[name] = Blob(x, y, float(areas.max()) / mask.size)
    return found


def colour_rule(blobs: Mapping[str, Blob], scene: Scene) -> float:
    """Share of the scene's things whose colour is there as a blob."""
    return sum(thing.colour in blobs for thing in scene.things) / len(scene.things)


def position_rule(blobs: Mapping[str, Blob], scene: Scene) -> bool | None:
    """Whether the blobs of the asked colours stand on the asked side or in the asked relation; None where none is asked."""
    first = blobs.get(scene.things[0].colour)
    if scene.side is not None:
        return first is not None and (first.x < 0.5 - MIN_SHIFT if scene.side == "left" else first.x > 0.5 + MIN_SHIFT)
    if scene.relation is None:
        return None
    second = blobs.get(scene.things[1].colour)
    if first is None or second is None:
        return False
    across, down = second.x - first.x, second.y - first.y
    along = across if scene.relation in ("left_of", "right_of") else down
    sign = 1 if scene.relation in ("left_of", "above") else -1
    return sign * along > MIN_SHIFT and abs(along) == max(abs(across), abs(down))
