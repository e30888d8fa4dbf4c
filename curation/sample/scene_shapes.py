"""The eight things of the drawn world, as coloured polygons in a unit square.

Every thing fits [-1, 1] x [-1, 1], x to the right and y downwards, so one drawing serves every size and aspect ratio.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Rgb = tuple[int, int, int]
Points = NDArray[np.float64]
Part = tuple[Points, Rgb]
"""A filled polygon: points (n, 2) in unit coordinates and its colour."""

GLASS: Rgb = (205, 232, 245)
TYRE: Rgb = (48, 48, 54)
BARK: Rgb = (121, 82, 51)
CREAM: Rgb = (252, 244, 222)


def mix(colour: Rgb, other: Rgb, share: float) -> Rgb:
    """`colour` with `share` in [0, 1] of `other` in it."""
    red, green, blue = (round(a * (1 - share) + b * share) for a, b in zip(colour, other, strict=True))
    return red, green, blue


def lighter(colour: Rgb, share: float) -> Rgb:
    """`colour` mixed with white."""
    return mix(colour, (255, 255, 255), share)


def darker(colour: Rgb, share: float) -> Rgb:
    """`colour` mixed with near black."""
    return mix(colour, (14, 12, 26), share)


def _polygon(*points: tuple[float, float]) -> Points:
    return np.asarray(points, dtype=np.float64)


def _rectangle(left: float, top: float, right: float, bottom: float) -> Points:
    return _polygon((left, top), (right, top), (right, bottom), (left, bottom))


def _ellipse(x: float, y: float, radius_x: float, radius_y: float, *, corners: int = 44) -> Points:
    angles = np.linspace(0.0, 2 * np.pi, corners, endpoint=False)
    return np.stack([x + radius_x * np.cos(angles), y + radius_y * np.sin(angles)], axis=1)


def _ball(colour: Rgb) -> list[Part]:
    band = np.linspace(-0.86, 0.86, 20)
    upper = np.stack([band, -0.18 + 0.22 * (1 - (band / 0.86) ** 2)], axis=1)
    lower = np.stack([band[::-1] * 0.96, 0.12 + 0.26 * (1 - (band[::-1] / 0.86) ** 2)], axis=1)
    return [
        (_ellipse(0, 0, 0.92, 0.92), colour),
        (np.concatenate([upper, lower]), darker(colour, 0.24)),
        (_ellipse(-0.36, -0.46, 0.22, 0.15), lighter(colour, 0.72)),
    ]


def _box(colour: Rgb) -> list[Part]:
    return [
        (_polygon((-0.85, -0.42), (-0.42, -0.85), (0.88, -0.85), (0.45, -0.42)), lighter(colour, 0.38)),
        (_polygon((0.45, -0.42), (0.88, -0.85), (0.88, 0.42), (0.45, 0.86)), darker(colour, 0.30)),
        (_rectangle(-0.85, -0.42, 0.45, 0.86), colour),
        (_rectangle(-0.31, -0.42, -0.09, 0.86), lighter(colour, 0.55)),
        (_polygon((-0.31, -0.42), (0.12, -0.85), (0.34, -0.85), (-0.09, -0.42)), lighter(colour, 0.72)),
    ]


def _star(colour: Rgb) -> list[Part]:
    angles = -np.pi / 2 + np.arange(10) * np.pi / 5
    radii = np.where(np.arange(10) % 2 == 0, 1.0, 0.44)
    outline = np.stack([radii * np.cos(angles), 0.06 + radii * np.sin(angles)], axis=1)
    return [(outline, colour), (outline * 0.52 + [[0.0, 0.0]], lighter(colour, 0.32))]


def _heart(colour: Rgb) -> list[Part]:
    turn = np.linspace(0.0, 2 * np.pi, 60, endpoint=False)
    across = 16 * np.sin(turn) ** 3
    down = -(13 * np.cos(turn) - 5 * np.cos(2 * turn) - 2 * np.cos(3 * turn) - np.cos(4 * turn))
    outline = np.stack([across / 17.0, (down - 2.5) / 16.0], axis=1)
    return [(outline, colour), (_ellipse(-0.44, -0.42, 0.17, 0.13), lighter(colour, 0.65))]


def _tree(colour: Rgb) -> list[Part]:
    return [
        (_rectangle(-0.16, 0.45, 0.16, 0.98), BARK),
        (_polygon((0, -0.28), (0.86, 0.62), (-0.86, 0.62)), darker(colour, 0.18)),
        (_polygon((0, -0.66), (0.68, 0.18), (-0.68, 0.18)), colour),
        (_polygon((0, -1.0), (0.47, -0.30), (-0.47, -0.30)), lighter(colour, 0.20)),
    ]


def _house(colour: Rgb) -> list[Part]:
    return [
        (_rectangle(0.36, -0.88, 0.60, -0.30), darker(colour, 0.55)),
        (_rectangle(-0.70, -0.14, 0.70, 0.90), colour),
        (_polygon((0, -0.95), (0.98, -0.08), (-0.98, -0.08)), darker(colour, 0.42)),
        (_rectangle(-0.46, 0.26, -0.08, 0.90), CREAM),
        (_rectangle(0.14, 0.22, 0.50, 0.56), GLASS),
    ]


def _fish(colour: Rgb) -> list[Part]:
    return [
        (_polygon((-0.34, 0.0), (-0.98, -0.56), (-0.82, 0.0), (-0.98, 0.56)), darker(colour, 0.26)),
        (_polygon((-0.22, -0.40), (0.10, -0.80), (0.42, -0.36)), darker(colour, 0.26)),
        (_polygon((-0.10, 0.40), (0.06, 0.72), (0.30, 0.38)), darker(colour, 0.26)),
        (_ellipse(0.20, 0.0, 0.78, 0.50), colour),
        (_ellipse(0.16, 0.20, 0.52, 0.24), lighter(colour, 0.34)),
        (_ellipse(0.60, -0.14, 0.14, 0.14), (255, 255, 255)),
        (_ellipse(0.63, -0.14, 0.07, 0.07), (22, 22, 30)),
    ]


def _car(colour: Rgb) -> list[Part]:
    return [
        (_polygon((-0.56, 0.02), (-0.36, -0.52), (0.32, -0.52), (0.62, 0.02)), darker(colour, 0.12)),
        (_polygon((-0.42, -0.02), (-0.29, -0.40), (-0.04, -0.40), (-0.04, -0.02)), GLASS),
        (_polygon((0.06, -0.02), (0.06, -0.40), (0.27, -0.40), (0.45, -0.02)), GLASS),
        (
            _polygon((-0.98, 0.10), (-0.90, -0.04), (0.78, -0.04), (0.98, 0.16), (0.98, 0.46), (-0.98, 0.46)),
            colour,
        ),
        (_rectangle(0.84, 0.12, 0.98, 0.26), (255, 238, 150)),
        (_ellipse(-0.52, 0.48, 0.25, 0.25), TYRE),
        (_ellipse(0.54, 0.48, 0.25, 0.25), TYRE),
        (_ellipse(-0.52, 0.48, 0.11, 0.11), (214, 214, 220)),
        (_ellipse(0.54, 0.48, 0.11, 0.11), (214, 214, 220)),
    ]


SHAPES: dict[str, Callable[[Rgb], list[Part]]] = {
    "ball": _ball,
    "box": _box,
    "star": _star,
    "heart": _heart,
    "tree": _tree,
    "house": _house,
    "fish": _fish,
    "car": _car,
}
"""Kind of thing -> its polygons, from the back to the front, for one main colour."""
