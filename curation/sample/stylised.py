"""Photographs put through the filters of picture apps: still photographs, however much they look painted."""

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter, ImageOps


def stylise(photograph: Image.Image, rng: np.random.Generator) -> Image.Image:
    """The RGB photograph through one of `FILTERS`, at a random strength; same size."""
    return FILTERS[int(rng.integers(len(FILTERS)))](photograph.convert("RGB"), rng)


def _posterise(photograph: Image.Image, rng: np.random.Generator) -> Image.Image:
    return ImageOps.posterize(photograph, int(rng.integers(2, 5)))


def _paint(photograph: Image.Image, rng: np.random.Generator) -> Image.Image:
    return photograph.filter(ImageFilter.ModeFilter(int(rng.choice([5, 7, 9])))).filter(ImageFilter.SMOOTH)


def _comic(photograph: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Flattened tones under dark edges."""
    flat = ImageOps.posterize(photograph.filter(ImageFilter.MedianFilter(5)), 3)
    edges = np.asarray(photograph.convert("L").filter(ImageFilter.FIND_EDGES), np.float32)
    keep = 1 - np.clip((edges - 20) / 60, 0, 1) * rng.uniform(0.4, 1.0)
    return Image.fromarray((np.asarray(flat, np.float32) * keep[..., None]).astype(np.uint8))


def _sepia(photograph: Image.Image, rng: np.random.Generator) -> Image.Image:
    grey = ImageOps.autocontrast(photograph.convert("L"), cutoff=float(rng.uniform(0, 8)))
    return ImageOps.colorize(grey, black=(40, 24, 10), white=(255, 240, 206))


def _saturate(photograph: Image.Image, rng: np.random.Generator) -> Image.Image:
    strong = ImageEnhance.Color(photograph).enhance(float(rng.uniform(1.8, 3.0)))
    return ImageEnhance.Contrast(strong).enhance(float(rng.uniform(1.2, 1.8)))


FILTERS = (_posterise, _paint, _comic, _sepia, _saturate)
