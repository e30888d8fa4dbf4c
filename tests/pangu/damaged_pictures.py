"""Pictures of many kinds at 256 px or more, and what a mark in them must survive: for the tests of watermarks."""

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}


def through_jpeg(image: np.ndarray) -> np.ndarray:
    """As JPEG of quality 75, Pillow's own colour subsampling."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=75)
    return np.asarray(Image.open(file))


def resized(image: np.ndarray) -> np.ndarray:
    """To three quarters of each side."""
    height, width = image.shape[:2]
    size = round(width * 0.75), round(height * 0.75)
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))


def cropped(image: np.ndarray) -> np.ndarray:
    """Without a tenth of each side, unevenly taken: the picture's own pixels decide where."""
    height, width = image.shape[:2]
    rng = np.random.default_rng(int(image[:8].sum()))
    top, left = int(rng.integers(height // 10 + 1)), int(rng.integers(width // 10 + 1))
    return np.ascontiguousarray(image[top : top + height * 9 // 10, left : left + width * 9 // 10])


DAMAGES = {"jpeg": through_jpeg, "resize": resized, "crop": cropped}


def shared_pictures(folder: Path, kind: str, count: int, seed: int = 0) -> Iterator[np.ndarray]:
    """Up to so many of a kind of the shared pictures, (H, W, 3) uint8 with 256 px or more on each side.

    Transparent ones on white.
    """
    paths = sorted(path for path in (folder / "images" / kind).rglob("*") if path.suffix.lower() in SUFFIXES)
    for place in np.random.default_rng(seed).permutation(len(paths))[:count]:
        picture = Image.open(paths[place]).convert("RGBA")
        canvas = Image.new("RGBA", picture.size, "white")
        canvas.alpha_composite(picture)
        scale = max(1.0, 256 / min(picture.size))
        size = round(picture.width * scale), round(picture.height * scale)
        yield np.asarray(canvas.convert("RGB").resize(size, Image.Resampling.BICUBIC))


def drawn_pictures(count: int, side_px: int = 256, seed: int = 0) -> Iterator[np.ndarray]:
    """So many drawn scenes."""
    from curation.sample.scenes import draw, random_scene

    rng = np.random.default_rng(seed)
    for number in range(count):
        yield np.asarray(draw(random_scene(rng), (side_px, side_px), seed=number).convert("RGB"))
