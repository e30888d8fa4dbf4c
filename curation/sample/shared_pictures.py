"""Photographs and emoji of a labelled picture folder as small squares, for models that should know more than drawings."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

UInt8Images = np.ndarray[Any, np.dtype[np.uint8]]


def square_pictures(data: Path, count: int, side_px: int, *, seed: int) -> UInt8Images:
    """`count` distinct pictures (or all there are) named by `data`/pairs.jsonl, (N, side, side, 3) uint8, cut to squares.

    Transparent parts become white. FileNotFoundError where the folder is absent.
    """
    lines = (data / "pairs.jsonl").read_text(encoding="utf-8").splitlines()
    paths = [json.loads(line)["path"] for line in lines]
    order = np.random.default_rng(seed).permutation(len(paths))[:count]
    return np.stack([_square(data / "images" / paths[number], side_px) for number in order])


def _square(path: Path, side_px: int) -> UInt8Images:
    with Image.open(path) as opened:
        picture = opened.convert("RGBA")
    picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")
    side = min(picture.size)
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    square = picture.crop((left, top, left + side, top + side))
    return np.asarray(square.resize((side_px, side_px), Image.Resampling.BICUBIC), np.uint8)
