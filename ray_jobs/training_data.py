"""Latent training samples read straight from pixels, through the training set's pointers: for sets that fit in memory."""

import hashlib
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image

from curation.crop_plan import CropPlan, apply_crop
from curation.decode import decode_rgb
from pangu.training_samples import LatentSample, encode_samples
from ray_jobs.manifest import Manifest
from ray_jobs.parts import read_part, read_rows
from ray_jobs.store import Store

ROW_COLUMNS = [
    "key",
    "reason",
    "image_part",
    "image_row",
    "captions_en",
    "captions_zh",
    "bucket",
    "structure_crop",
    "texture_crop",
    "texture_eligible",
]


def select_rows(store: Store, training_set: Manifest, role: str) -> list[dict[str, Any]]:
    """Kept rows an expert trains on, in key order: texture takes those that need no enlarging, the others all.

    ValueError when none is left.
    """
    rows = [row for row in read_rows(store, training_set, ROW_COLUMNS).to_pylist() if row["reason"] is None]
    if role == "texture":
        rows = [row for row in rows if row["texture_eligible"]]
    if not rows:
        raise ValueError(f"training_set: {training_set.key} has no picture for the {role} expert; look at its reasons")
    return sorted(rows, key=lambda row: str(row["key"]))


def take_structure(picture: Image.Image, row: dict[str, Any]) -> Image.Image:
    """A picture at its bucket's structure size."""
    return apply_crop(picture, CropPlan(**row["structure_crop"]))


def take_shrunk(picture: Image.Image, row: dict[str, Any]) -> Image.Image:
    """A picture shrunk to its bucket's texture size, as the paper has it."""
    return apply_crop(picture, CropPlan(**row["texture_crop"]))


def take_window(picture: Image.Image, row: dict[str, Any]) -> Image.Image:
    """A window of the texture size out of the structure picture, its place decided by the key: the pixel scale is right."""
    whole, size = take_structure(picture, row), row["texture_crop"]
    place = hashlib.sha256(str(row["key"]).encode()).digest()
    left = int.from_bytes(place[:4], "big") % (whole.width - size["width"] + 1)
    top = int.from_bytes(place[4:8], "big") % (whole.height - size["height"] + 1)
    return whole.crop((left, top, left + size["width"], top + size["height"]))


def load_samples(
    store: Store,
    images: Manifest,
    rows: list[dict[str, Any]],
    take: Callable[[Image.Image, dict[str, Any]], Image.Image],
    vae: Any,  # noqa: ANN401 any diffusers autoencoder
) -> list[LatentSample]:
    """Decode, crop (`take`) and encode the rows' pictures part by part, in an order that depends only on their keys."""
    by_part: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        by_part[row["image_part"]].append(row)
    pictures: dict[int, list[tuple[str, np.ndarray[Any, Any], tuple[str, ...]]]] = defaultdict(list)
    for part, members in sorted(by_part.items()):
        stored = read_part(store, images, part, ["image"]).column("image")
        for row in members:
            picture = decode_rgb(stored[row["image_row"]].as_py()["bytes"])
            pixels = np.asarray(take(picture, row), dtype=np.uint8)
            pictures[row["bucket"]].append((row["key"], pixels, (*row["captions_en"], *row["captions_zh"])))
    samples: list[LatentSample] = []
    for bucket, found in sorted(pictures.items()):
        found.sort(key=lambda item: item[0])
        stacked = np.stack([pixels for _, pixels, _ in found])
        samples += encode_samples(vae, {bucket: stacked}, {bucket: [captions for _, _, captions in found]})
    return samples
