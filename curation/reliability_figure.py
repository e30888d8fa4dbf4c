"""Draws a reliability diagram beside the histogram of told probabilities by class, the abstain band shaded."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from curation.calibration import MIDDLE, Floats, ReliabilityBin, Truth

_SCALE = 2
"""Drawn at this many pixels a unit; sizes below are units."""
_SIZE, _SIDE, _TOP = (1040, 560), 400, 70
_INK, _FAINT, _BAND = (34, 38, 46), (205, 210, 218), (255, 240, 205)
_POSITIVE, _OTHER = (214, 84, 22), (30, 104, 170)
_ALL, _DOUBT = (90, 96, 108), (126, 52, 160)
_NUM_BARS = 25
_TICKS = (0.0, 0.25, 0.5, 0.75, 1.0)
_LEVELS = {f"{tick:g}": tick for tick in _TICKS}
_SHARES = {f"{share:.0%}": share**0.5 for share in (0.0, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0)}

Rgb = tuple[int, int, int]


@dataclass(frozen=True)
class _Plot:
    """A square plot of [0, 1] x [0, 1] at (left, top)."""

    pen: ImageDraw.ImageDraw
    left: int

    def at(self, x: float, y: float) -> tuple[float, float]:
        return (self.left + x * _SIDE) * _SCALE, (_TOP + (1 - y) * _SIDE) * _SCALE

    def box(self, x: tuple[float, float], y: tuple[float, float], fill: Rgb | None, outline: Rgb | None = None) -> None:
        (left, bottom), (right, top) = self.at(x[0], y[0]), self.at(x[1], y[1])
        self.pen.rectangle((left, top, right, bottom), fill=fill, outline=outline, width=_SCALE)

    def line(self, points: Sequence[tuple[float, float]], colour: Rgb, width: float = 1) -> None:
        self.pen.line([self.at(*point) for point in points], fill=colour, width=round(width * _SCALE))

    def text(self, x: float, y: float, words: str, anchor: str, colour: Rgb = _INK, size: int = 13) -> None:
        self.pen.text(self.at(x, y), words, fill=colour, anchor=anchor, font=_font(size))


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size * _SCALE)


def draw_reliability(
    tables: tuple[Sequence[ReliabilityBin], Sequence[ReliabilityBin]],
    probabilities: Floats,
    truth: Truth,
    band: tuple[float, float],
    heading: str,
) -> Image.Image:
    """An RGB picture; `tables` are of all and of those in doubt, `probabilities` and `truth` (N,), `band` (low, high)."""
    image = Image.new("RGB", (_SIZE[0] * _SCALE, _SIZE[1] * _SCALE), "white")
    pen = ImageDraw.Draw(image)
    pen.text((_SIZE[0] * _SCALE / 2, 20 * _SCALE), heading, fill=_INK, anchor="mm", font=_font(15))
    left, right = _Plot(pen, 80), _Plot(pen, 600)
    for plot, title, levels in (
        (left, "share true, by probability told", _LEVELS),
        (right, "what is told, by class", _SHARES),
    ):
        plot.box(band, (0, 1), _BAND)
        for tick in _TICKS:
            plot.line([(tick, 0), (tick, 1)], _FAINT, 0.5)
            plot.text(tick, -0.02, f"{tick:g}", "ma")
        for name, level in levels.items():
            plot.line([(0, level), (1, level)], _FAINT, 0.5)
            plot.text(-0.02, level, name, "rm")
        plot.text(0.5, -0.085, f"probability told (shaded: left open, {band[0]:g} to {band[1]:g})", "ma")
        plot.text(0.5, 1.025, title, "mb", size=14)
    left.line([(0, 0), (1, 1)], _INK, 0.8)
    words = ("all pictures, in bins of equal numbers", f"those between {MIDDLE[0]} and {MIDDLE[1]}")
    for table, colour, height, text in zip(tables, (_ALL, _DOUBT), (0.145, 0.095), words, strict=True):
        _draw_bins(left, table, colour)
        left.text(0.97, height, text, "rm", colour)
    left.text(0.97, 0.045, "bars: 95 % interval of the share true", "rm")
    _draw_histogram(right, probabilities, truth)
    for plot in (left, right):
        plot.box((0, 1), (0, 1), None, _INK)
    return image


def _draw_bins(plot: _Plot, table: Sequence[ReliabilityBin], colour: Rgb) -> None:
    for one in table:
        x, radius = one.mean_probability, 4 * _SCALE
        plot.line([(x, one.share_low), (x, one.share_high)], colour, 1.2)
        for end in (one.share_low, one.share_high):
            plot.line([(x - 0.008, end), (x + 0.008, end)], colour, 1.2)
        centre = plot.at(x, one.positive_share)
        corners = (centre[0] - radius, centre[1] - radius, centre[0] + radius, centre[1] + radius)
        plot.pen.ellipse(corners, fill=colour, outline="white")


def _draw_histogram(plot: _Plot, probabilities: Floats, truth: Truth) -> None:
    """Bars side by side; heights are on a square-root axis, so that the few pictures in the middle are seen."""
    counts = [np.histogram(probabilities[of], bins=_NUM_BARS, range=(0, 1))[0] for of in (truth, ~truth)]
    shares = [count / max(count.sum(), 1) for count in counts]
    for share, colour, shift in ((shares[1], _OTHER, 0.0), (shares[0], _POSITIVE, 0.5)):
        for bar in np.flatnonzero(share):
            start = (bar + shift) / _NUM_BARS
            plot.box((start, start + 0.46 / _NUM_BARS), (0, float(share[bar]) ** 0.5), colour)
    plot.text(0.5, 0.965, f"of the style ({counts[0].sum()})", "mm", _POSITIVE)
    plot.text(0.5, 0.915, f"others ({counts[1].sum()})", "mm", _OTHER)
    plot.text(0.5, 0.865, "share of the class, square-root axis", "mm")
