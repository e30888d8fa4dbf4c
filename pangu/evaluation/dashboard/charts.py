"""Charts as inline SVG: no script, no style attribute, colours from the stylesheet, so the strictest CSP holds."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from pangu.evaluation.dashboard.numbers import show_number

_WIDTH, _HEIGHT = 560, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 82, 16, 14, 44


@dataclass(frozen=True)
class Point:
    """One point of a line; low and high draw a band, label is what hovering shows, an alarm is drawn larger.

    link: the page that the point opens, one of the site's own file names.
    """

    x: float
    y: float
    low: float | None = None
    high: float | None = None
    label: str = ""
    is_alarm: bool = False
    link: str = ""


@dataclass(frozen=True)
class Line:
    """A named line; `tone` (0 to 5) picks its colour class."""

    name: str
    points: tuple[Point, ...]
    tone: int = 0


@dataclass(frozen=True)
class _Frame:
    """The map from data to the drawing's units."""

    x_low: float
    x_high: float
    y_low: float
    y_high: float

    def x(self, value: float) -> float:
        span = self.x_high - self.x_low or 1.0
        return round(_LEFT + (value - self.x_low) / span * (_WIDTH - _LEFT - _RIGHT), 2)

    def y(self, value: float) -> float:
        span = self.y_high - self.y_low or 1.0
        return round(_HEIGHT - _BOTTOM - (value - self.y_low) / span * (_HEIGHT - _TOP - _BOTTOM), 2)


def line_chart(
    lines: Sequence[Line], *, title: str, x_name: str, ticks: Sequence[tuple[float, str]] = (), markers: bool = False
) -> Markup:
    """Return one SVG of all lines with axes, bands and, if `markers`, a dot a point; empty where nothing is finite."""
    kept = [Line(line.name, tuple(p for p in line.points if math.isfinite(p.y)), line.tone) for line in lines]
    kept = [line for line in kept if line.points]
    if not kept:
        return Markup("")
    frame = _frame([point for line in kept for point in line.points])
    parts = [
        Markup('<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}">').format(_WIDTH, _HEIGHT, title)
    ]
    parts.append(_axes(frame, x_name, ticks))
    parts += [_alarm_mark(point, frame) for line in kept for point in line.points if point.is_alarm]
    parts += [_band(line, frame) for line in kept]
    parts += [_path(line, frame, markers=markers) for line in kept]
    parts.append(Markup("</svg>"))
    return Markup("").join(parts)


def _frame(points: Sequence[Point]) -> _Frame:
    """Return a frame with a little air above and below, and round bounds."""
    xs = [point.x for point in points]
    ys = [value for point in points for value in (point.y, point.low, point.high) if value is not None]
    low, high = min(ys), max(ys)
    step = _nice_step((high - low) or abs(high) or 1.0)
    floor, ceiling = math.floor(low / step) * step, math.ceil(high / step) * step
    return _Frame(min(xs), max(xs), floor, ceiling if ceiling > floor else floor + step)


def _nice_step(span: float) -> float:
    """Return 1, 2 or 5 times a power of ten that cuts `span` in about four."""
    power = 10.0 ** math.floor(math.log10(span / 4))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power * 4 >= span * 0.999)


def _axes(frame: _Frame, x_name: str, ticks: Sequence[tuple[float, str]]) -> Markup:
    """Return grid lines, tick labels and the name of the x axis."""
    parts = []
    step = _nice_step(frame.y_high - frame.y_low)
    for value in _spread(frame.y_low, frame.y_high):
        parts.append(
            Markup(
                '<line class="gridline" x1="{}" x2="{}" y1="{y}" y2="{y}"/><text class="tick" x="{}" y="{}">{}</text>'
            ).format(_LEFT, _WIDTH - _RIGHT, _LEFT - 8, frame.y(value) + 5, _tick(value, step), y=frame.y(value))
        )
    shown = list(ticks) or [(value, f"{value:,.0f}") for value in _spread(frame.x_low, frame.x_high)]
    for value, label in shown:
        anchor = "first" if value == frame.x_low else "last" if value == frame.x_high else "middle"
        parts.append(
            Markup('<text class="tick {}" x="{}" y="{}">{}</text>').format(
                anchor, frame.x(value), _HEIGHT - _BOTTOM + 19, label
            )
        )
    name = Markup('<text class="axis" x="{}" y="{}">{}</text>').format(
        (_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 6, x_name
    )
    return Markup("").join([*parts, name])


def _tick(value: float, step: float) -> str:
    """Return a tick label with just the digits that its step needs."""
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    return (f"{value:,.{digits}f}" if digits < 5 else f"{value:.0e}").replace("-", "−", 1)


def _spread(low: float, high: float) -> list[float]:
    """Return about five round values from low to high."""
    if low == high:
        return [low]
    step = _nice_step(high - low)
    first = math.ceil(low / step - 1e-9)
    return [index * step for index in range(first, math.floor(high / step + 1e-9) + 1)]


def _band(line: Line, frame: _Frame) -> Markup:
    """Return the interval of a line as a filled band."""
    bounded = [(p.x, p.low, p.high) for p in line.points if p.low is not None and p.high is not None]
    if not bounded:
        return Markup("")
    if len(bounded) == 1:
        x, low, high = bounded[0]
        return Markup('<line class="whisker tone{}" x1="{x}" x2="{x}" y1="{}" y2="{}"/>').format(
            line.tone, frame.y(low), frame.y(high), x=frame.x(x)
        )
    upper = [f"{frame.x(x)},{frame.y(high)}" for x, _, high in bounded]
    lower = [f"{frame.x(x)},{frame.y(low)}" for x, low, _ in reversed(bounded)]
    return Markup('<polygon class="band tone{}" points="{}"/>').format(line.tone, " ".join(upper + lower))


def _path(line: Line, frame: _Frame, *, markers: bool) -> Markup:
    """Return the line itself, with dots that name themselves when hovered."""
    points = " ".join(f"{frame.x(p.x)},{frame.y(p.y)}" for p in line.points)
    parts = [Markup('<polyline class="line tone{}" points="{}"/>').format(line.tone, points)]
    if markers or len(line.points) == 1:
        parts += [_dot(line, point, frame) for point in line.points]
    return Markup("").join(parts)


def _dot(line: Line, point: Point, frame: _Frame) -> Markup:
    """Return a dot that names itself and opens its page; what a finger has to hit is larger than what is seen."""
    x, y = frame.x(point.x), frame.y(point.y)
    seen = Markup('<circle class="dot tone{}{}" cx="{}" cy="{}" r="{}"><title>{}</title></circle>').format(
        line.tone,
        " alarm" if point.is_alarm else "",
        x,
        y,
        7 if point.is_alarm else 4,
        point.label or f"{line.name}: {show_number(point.y)}",
    )
    if not point.link:
        return seen
    reach = Markup('<circle class="reach" cx="{}" cy="{}" r="13"/>').format(x, y)
    return Markup('<a href="{}" aria-label="{}">{}{}</a>').format(point.link, point.label, reach, seen)


def _alarm_mark(point: Point, frame: _Frame) -> Markup:
    """Return an upright through the whole drawing where a night raised an alarm."""
    return Markup('<line class="alarmmark" x1="{x}" x2="{x}" y1="{}" y2="{}"/>').format(
        _TOP, _HEIGHT - _BOTTOM, x=frame.x(point.x)
    )


def bar(value: float, largest: float, *, tone: int = 0) -> Markup:
    """Return one horizontal bar, as wide as its share of the largest."""
    share = 0.0 if largest <= 0 else max(0.0, min(100.0, 100.0 * value / largest))
    if value > 0:
        share = max(share, 0.6)
    return Markup(
        '<svg class="bar" aria-hidden="true"><rect class="track" width="100%" height="100%" rx="3"/>'
        '<rect class="fill tone{}" width="{}%" height="100%" rx="3"/></svg>'
    ).format(tone, round(share, 2))


def stacked_bar(parts: Sequence[tuple[str, float, int]]) -> Markup:
    """Return one bar cut into (name, value, tone) shares of their sum."""
    total = sum(value for _, value, _ in parts) or 1.0
    drawn, start = [], 0.0
    for name, value, tone in parts:
        width = 100.0 * value / total
        drawn.append(
            Markup('<rect class="fill tone{}" x="{}%" width="{}%" height="100%"><title>{}: {}</title></rect>').format(
                tone, round(start, 2), round(width, 2), name, show_number(value)
            )
        )
        start += width
    return Markup('<svg class="stack" role="img" aria-label="{}">').format(
        ", ".join(str(escape(name)) for name, _, _ in parts)
    ) + Markup("").join([*drawn, Markup("</svg>")])


def shape(height: int, width: int, *, largest: int) -> Markup:
    """Return a small outline of a picture of that height and width, to the scale of the largest side."""
    scale = 34.0 / largest
    return Markup(
        '<svg class="shape" viewBox="0 0 36 36" aria-hidden="true">'
        '<rect x="{}" y="{}" width="{}" height="{}" rx="1.5"/></svg>'
    ).format(
        round(18 - width * scale / 2, 2),
        round(18 - height * scale / 2, 2),
        round(width * scale, 2),
        round(height * scale, 2),
    )
