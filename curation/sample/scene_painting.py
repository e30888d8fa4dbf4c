"""Backgrounds and the two drawing styles: flat cartoon, and shaded with texture and noise."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from curation.sample.scene_shapes import SHAPES, Part, Points, Rgb, darker, mix

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class PlacedThing:
    """One thing on the canvas: centre and radius in fractions of the picture's width and height."""

    kind: str
    rgb: Rgb
    x: float
    y: float
    radius_px: float
    turn_degrees: float


SKY: dict[str, tuple[Rgb, Rgb]] = {
    "white": ((255, 255, 255), (246, 246, 248)),
    "sky": ((110, 188, 246), (202, 234, 252)),
    "meadow": ((190, 230, 250), (222, 242, 250)),
    "beach": ((96, 196, 226), (72, 168, 214)),
    "night": ((16, 20, 58), (44, 48, 110)),
    "sunset": ((236, 84, 92), (255, 190, 98)),
    "snow": ((172, 200, 226), (214, 228, 240)),
    "wood": ((176, 122, 76), (158, 104, 62)),
}
"""Background -> colours at the top and at the bottom of its gradient."""


def _gradient(top: Rgb, bottom: Rgb, width: int, height: int) -> Image.Image:
    share = np.linspace(0.0, 1.0, height, dtype=np.float32)[:, None]
    column = np.asarray(top, np.float32) * (1 - share) + np.asarray(bottom, np.float32) * share
    pixels = np.repeat(column[:, None, :], width, axis=1)
    return Image.fromarray(np.round(pixels).astype(np.uint8), "RGB")


def _hill(pen: ImageDraw.ImageDraw, size: tuple[int, int], level: float, wave: float, phase: float, rgb: Rgb) -> None:
    width, height = size
    across = np.linspace(0.0, 1.0, 40)
    crest = level + wave * np.sin(2 * np.pi * (1.15 * across + phase))
    points = [(float(x) * width, float(y) * height) for x, y in zip(across, crest, strict=True)]
    pen.polygon([*points, (width, height), (0, height)], fill=rgb)


def _clouds(pen: ImageDraw.ImageDraw, size: tuple[int, int], rng: np.random.Generator) -> None:
    width, height = size
    unit = min(width, height)
    for _ in range(3):
        x, y = rng.uniform(0, width), rng.uniform(0.05, 0.95) * height
        for dx, dy, radius in ((-0.10, 0.02, 0.055), (0.0, -0.02, 0.08), (0.10, 0.02, 0.06), (0.0, 0.04, 0.06)):
            centre_x, centre_y, r = x + dx * unit, y + dy * unit, radius * unit
            pen.ellipse((centre_x - r * 1.3, centre_y - r, centre_x + r * 1.3, centre_y + r), fill=(240, 249, 255))


def _specks(pen: ImageDraw.ImageDraw, size: tuple[int, int], rng: np.random.Generator, count: int, rgb: Rgb) -> None:
    unit = min(size)
    for x, y, r in rng.uniform(0, 1, (count, 3)):
        radius = (0.004 + 0.009 * r) * unit
        centre_x, centre_y = x * size[0], y * size[1]
        pen.ellipse((centre_x - radius, centre_y - radius, centre_x + radius, centre_y + radius), fill=rgb)


def _planks(pen: ImageDraw.ImageDraw, size: tuple[int, int], rng: np.random.Generator) -> None:
    width, height = size
    plank = max(4, round(min(size) / 4.5))
    for top in range(-round(rng.uniform(0, plank)), height, plank):
        tone = mix((176, 122, 76), (134, 84, 48), float(rng.uniform(0, 0.75)))
        pen.rectangle((0, top, width, top + plank), fill=tone)
        for _ in range(3):
            grain = top + rng.uniform(0.1, 0.9) * plank
            start = rng.uniform(-0.2, 0.8) * width
            pen.line((start, grain, start + 0.5 * width, grain), fill=darker(tone, 0.14), width=max(1, plank // 22))
        pen.line((0, top, width, top), fill=darker(tone, 0.45), width=max(1, plank // 12))


def paint_background(name: str, size: tuple[int, int], rng: np.random.Generator) -> Image.Image:
    """One of the eight backgrounds; `size` is (width, height) in px."""
    canvas = _gradient(*SKY[name], *size)
    pen = ImageDraw.Draw(canvas)
    phase = float(rng.uniform(0, 1))
    width, height = size
    unit = min(size)
    if name == "sky":
        _clouds(pen, size, rng)
    elif name == "meadow":
        _hill(pen, size, 0.22, 0.05, phase, (134, 200, 98))
        _hill(pen, size, 0.42, 0.05, phase + 0.45, (104, 182, 78))
        _hill(pen, size, 0.72, 0.04, phase + 0.8, (84, 162, 66))
    elif name == "beach":
        _hill(pen, size, 0.30, 0.03, phase, (250, 250, 246))
        _hill(pen, size, 0.33, 0.03, phase, (240, 214, 160))
        _hill(pen, size, 0.74, 0.03, phase + 0.5, (230, 200, 142))
    elif name == "night":
        _specks(pen, size, rng, 26, (250, 244, 200))
        x, y, r = rng.uniform(0.08, 0.92) * width, 0.14 * height, 0.085 * unit
        pen.ellipse((x - r, y - r, x + r, y + r), fill=(250, 240, 190))
        pen.ellipse((x - 0.4 * r, y - 1.2 * r, x + 1.5 * r, y + 0.7 * r), fill=(24, 28, 70))
    elif name == "sunset":
        x, y, r = rng.uniform(0.15, 0.85) * width, 0.72 * height, 0.20 * unit
        pen.ellipse((x - r, y - r, x + r, y + r), fill=(255, 224, 140))
        _hill(pen, size, 0.84, 0.03, phase, (150, 62, 96))
    elif name == "snow":
        _hill(pen, size, 0.40, 0.05, phase, (234, 241, 248))
        _hill(pen, size, 0.70, 0.05, phase + 0.4, (250, 252, 255))
        _specks(pen, size, rng, 34, (255, 255, 255))
    elif name == "wood":
        _planks(pen, size, rng)
    return canvas


def _place(points: Points, thing: PlacedThing, size: tuple[int, int]) -> list[tuple[float, float]]:
    angle = np.deg2rad(thing.turn_degrees)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    placed = points @ turn * thing.radius_px + [thing.x * size[0], thing.y * size[1]]
    return [(float(x), float(y)) for x, y in placed]


def _fill(pen: ImageDraw.ImageDraw, parts: list[Part], thing: PlacedThing, size: tuple[int, int]) -> None:
    for points, rgb in parts:
        pen.polygon(_place(points, thing, size), fill=rgb)


def _outline(pen: ImageDraw.ImageDraw, parts: list[Part], thing: PlacedThing, size: tuple[int, int]) -> None:
    line = max(2, round(thing.radius_px * 0.15))
    edge = darker(thing.rgb, 0.68) if thing.rgb[0] + thing.rgb[1] + thing.rgb[2] > 200 else (235, 235, 240)
    for points, _ in parts:
        corners = _place(points, thing, size)
        pen.line([*corners, corners[0], corners[1]], fill=edge, width=line, joint="curve")


def paint_flat(canvas: Image.Image, things: list[PlacedThing]) -> Image.Image:
    """Plain fills with an ink outline, as in a picture book."""
    pen = ImageDraw.Draw(canvas)
    for thing in things:
        parts = SHAPES[thing.kind](thing.rgb)
        _outline(pen, parts, thing, canvas.size)
        _fill(pen, parts, thing, canvas.size)
    return canvas


def paint_edges(size: tuple[int, int], things: list[PlacedThing]) -> Image.Image:
    """The outline of every part of every thing, white on black; `size` is (width, height) in px."""
    canvas = Image.new("RGB", size)
    pen = ImageDraw.Draw(canvas)
    for thing in things:
        for points, _ in SHAPES[thing.kind](thing.rgb):
            corners = _place(points, thing, size)
            pen.line([*corners, corners[0]], fill=(255, 255, 255), width=max(2, min(size) // 48))
    return canvas


def _smooth_noise(rng: np.random.Generator, size: tuple[int, int], cells: int) -> Floats:
    """Cloudy noise (height, width) in about [-1, 1], `cells` bumps along the shorter side."""
    width, height = size
    unit = min(size) / cells
    grid = rng.normal(0, 0.5, (max(2, round(height / unit)), max(2, round(width / unit)))).astype(np.float32)
    return np.asarray(Image.fromarray(grid, "F").resize(size, Image.Resampling.BICUBIC), dtype=np.float32)


def paint_shaded(
    canvas: Image.Image, things: list[PlacedThing], rng: np.random.Generator, *, is_plain: bool = False
) -> Image.Image:
    """Things on a background (`is_plain`: paper, hardly mottled).

    Light from the upper left, cast shadows, mottled surfaces, soft focus and grain, somewhat like a photograph.
    """
    size = canvas.size
    pixels: NDArray[np.floating] = np.asarray(canvas.filter(ImageFilter.GaussianBlur(min(size) / 90)), dtype=np.float32)
    mottle = 0.10 * _smooth_noise(rng, size, 7) + 0.05 * _smooth_noise(rng, size, 40)
    pixels = pixels * (1 + (0.3 if is_plain else 1.0) * mottle)[..., None]
    down, across = np.mgrid[0 : size[1], 0 : size[0]].astype(np.float32)
    for thing in things:
        layer, mask = Image.new("RGB", size), Image.new("L", size)
        parts = SHAPES[thing.kind](thing.rgb)
        _fill(ImageDraw.Draw(layer), parts, thing, size)
        pen = ImageDraw.Draw(mask)
        for points, _ in parts:
            pen.polygon(_place(points, thing, size), fill=255)
        shift = round(thing.radius_px * 0.16)
        shadow = ImageChops.offset(mask, shift, round(shift * 1.4)).filter(ImageFilter.GaussianBlur(shift * 0.7 + 0.1))
        pixels = pixels * (1 - 0.55 * np.asarray(shadow, np.float32)[..., None] / 255)
        x = (across - thing.x * size[0]) / thing.radius_px
        y = (down - thing.y * size[1]) / thing.radius_px
        light = 1.16 - 0.26 * np.hypot(x + 0.5, y + 0.6) + 0.09 * _smooth_noise(rng, size, 26)
        surface = np.asarray(layer, np.float32) * np.clip(light, 0.52, 1.22)[..., None]
        gloss = np.exp(-((x + 0.34) ** 2 + (y + 0.40) ** 2) / 0.045)[..., None]
        cover = np.asarray(mask, np.float32)[..., None] / 255
        pixels = pixels * (1 - cover) + (surface + 70 * gloss) * cover
    vignette = 1.04 - 0.20 * ((across / size[0] - 0.5) ** 2 + (down / size[1] - 0.5) ** 2) * 2
    return Image.fromarray(np.clip(pixels * vignette[..., None], 0, 255).astype(np.uint8), "RGB")


def add_grain(image: Image.Image, rng: np.random.Generator, sigma: float = 5.0) -> Image.Image:
    """Sensor-like noise at the final size: `sigma` in 8 bit levels, shared luma with a little colour."""
    pixels = np.asarray(image, dtype=np.float32)
    luma = rng.normal(0, sigma, (*pixels.shape[:2], 1)).astype(np.float32)
    chroma = rng.normal(0, sigma * 0.4, pixels.shape).astype(np.float32)
    return Image.fromarray(np.clip(pixels + luma + chroma, 0, 255).astype(np.uint8), "RGB")
