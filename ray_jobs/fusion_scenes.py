"""The drawn scenes that the small fusion members are trained and measured on: one thing each, with its aspects."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from curation.sample.scene_aspects import UInt8Image
from curation.sample.scene_captions import is_held_out
from curation.sample.scenes import Scene, draw, draw_edges, random_scene

SIDE_PX = 64
"""Of the pictures of most members, and of what the judge is shown."""


@dataclass(frozen=True)
class Drawn:
    """Training scenes of one thing each; images: their pictures (N, H, W, 3); seeds: what each was drawn with."""

    scenes: list[Scene]
    images: np.ndarray[Any, np.dtype[np.uint8]]
    seeds: list[int]


def draw_one(scene: Scene, seed: int, side_px: int = SIDE_PX) -> UInt8Image:
    """A scene's picture (side_px, side_px, 3) uint8."""
    return np.asarray(draw(scene, (side_px, side_px), seed), np.uint8)


def edges_of(scene: Scene, seed: int) -> UInt8Image:
    """The drawn edges (64, 64, 3) uint8 of `draw_one`'s picture."""
    return np.asarray(draw_edges(scene, (SIDE_PX, SIDE_PX), seed), np.uint8)


def single_scene(rng: np.random.Generator, *, held_out: bool | None) -> Scene:
    """A scene of one thing, not a small one, of a combination that is kept for evaluation or of the others; None: of any."""
    while True:
        scene = random_scene(rng, form="single")
        if held_out in (None, is_held_out(scene)) and scene.things[0].size != "small":
            return scene


def draw_training(count: int, seed: int, *, held_out: bool | None = None, side_px: int = SIDE_PX) -> Drawn:
    """`count` scenes with their pictures. held_out: see `single_scene`."""
    rng = np.random.default_rng(seed)
    scenes = [single_scene(rng, held_out=held_out) for _ in range(count)]
    seeds = [seed * 10_000_019 + number for number in range(count)]
    images = [draw_one(scene, own, side_px) for scene, own in zip(scenes, seeds, strict=True)]
    return Drawn(scenes, np.stack(images), seeds)


def example_for(scene: Scene, rng: np.random.Generator) -> Scene:
    """Another scene of the same colours, background and style, whose thing is of another kind and place."""
    while True:
        other = random_scene(rng, form="single", style=scene.style)
        thing = other.things[0]
        if thing.kind != scene.things[0].kind and thing.size != "small":
            same = type(thing)(thing.kind, scene.things[0].colour, size=thing.size)
            return Scene(scene.background, scene.style, (same,), side=other.side)
