"""Drawn screens: windows with text, tables, code and buttons, which are neither photographs nor cartoons."""

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageFont

Rgb = tuple[int, int, int]
_TEXT = """file edit view run queue total status owner date error retry report page name value rows ready images scored
kept batch night model loss step hours open close save cancel search result part 12 0.98 347 2026 100%"""
_WORDS = tuple(_TEXT.split())


def draw_screenshot(rng: np.random.Generator, side_px: int = 160) -> Image.Image:
    """One screen (side, side) RGB: a bar on top, maybe a column at the side, and a body of one of four sorts."""
    is_dark = bool(rng.random() < 0.4)
    paper, ink = ((28, 30, 36), (214, 216, 222)) if is_dark else ((250, 250, 252), (36, 38, 44))
    accent: Rgb = tuple(int(v) for v in rng.integers(30, 220, 3))  # type: ignore[assignment]
    image = Image.new("RGB", (side_px, side_px), paper)
    pen = ImageDraw.Draw(image)
    bar = int(rng.integers(8, 20))
    pen.rectangle((0, 0, side_px, bar), fill=accent)
    _line(pen, rng, 4, 1, (255, 255, 255), side_px // 2, size=max(7, bar - 4))
    left = int(rng.integers(24, 50)) if rng.random() < 0.5 else 4
    if left > 4:
        pen.rectangle((0, bar, left - 4, side_px), fill=_towards(paper, accent, 0.15))
        for y in range(bar + 4, side_px - 8, 14):
            _line(pen, rng, 3, y, ink, left - 8, size=7)
    bodies: tuple[Callable[..., None], ...] = (_text, _table, _code, _form)
    bodies[int(rng.integers(len(bodies)))](pen, rng, (left, bar + 5, side_px - 4, side_px - 4), ink, accent)
    return image


def _line(
    pen: ImageDraw.ImageDraw, rng: np.random.Generator, x: float, y: float, colour: Rgb, room: float, *, size: float = 9
) -> None:
    font = ImageFont.load_default(size=size)
    text = " ".join(rng.choice(_WORDS, int(rng.integers(1, 9))))
    while text and pen.textlength(text, font=font) > room:
        text = text[:-1]
    pen.text((x, y), text, fill=colour, font=font)


Box = tuple[int, int, int, int]


def _text(pen: ImageDraw.ImageDraw, rng: np.random.Generator, box: Box, ink: Rgb, accent: Rgb) -> None:
    size = int(rng.integers(7, 12))
    _line(pen, rng, box[0], box[1], accent, box[2] - box[0], size=size + 4)
    for y in range(box[1] + size + 10, box[3] - size, size + 3):
        if rng.random() < 0.85:
            _line(pen, rng, box[0], y, ink, (box[2] - box[0]) * rng.uniform(0.5, 1.0), size=size)


def _table(pen: ImageDraw.ImageDraw, rng: np.random.Generator, box: Box, ink: Rgb, accent: Rgb) -> None:
    columns, height = int(rng.integers(2, 5)), int(rng.integers(11, 18))
    width = (box[2] - box[0]) / columns
    for row, y in enumerate(range(box[1], box[3] - height, height)):
        if row == 0:
            pen.rectangle((box[0], y, box[2], y + height), fill=accent)
        for column in range(columns):
            x = box[0] + column * width
            pen.rectangle((x, y, x + width, y + height), outline=ink)
            _line(pen, rng, x + 2, y + 1, ink, width - 4, size=height - 5)


def _code(pen: ImageDraw.ImageDraw, rng: np.random.Generator, box: Box, ink: Rgb, accent: Rgb) -> None:
    for y in range(box[1], box[3] - 9, 10):
        indent = 8 * int(rng.integers(0, 4))
        _line(
            pen,
            rng,
            box[0] + indent,
            y,
            accent if rng.random() < 0.3 else ink,
            (box[2] - box[0] - indent) * 0.8,
            size=8,
        )


def _form(pen: ImageDraw.ImageDraw, rng: np.random.Generator, box: Box, ink: Rgb, accent: Rgb) -> None:
    for y in range(box[1], box[3] - 22, 30):
        _line(pen, rng, box[0], y, ink, box[2] - box[0], size=8)
        filled = rng.random() < 0.3
        right = box[0] + (box[2] - box[0]) * rng.uniform(0.4, 1.0)
        pen.rounded_rectangle((box[0], y + 11, right, y + 24), 3, outline=ink, fill=accent if filled else None)


def _towards(paper: Rgb, accent: Rgb, share: float) -> Rgb:
    red, green, blue = (int(p * (1 - share) + a * share) for p, a in zip(paper, accent, strict=True))
    return red, green, blue
