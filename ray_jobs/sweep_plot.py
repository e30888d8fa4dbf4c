"""A sweep as one small SVG: a panel a curve, one above the other, over a shared axis."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, PANEL, LEFT, RIGHT, TOP, BOTTOM = 560, 150, 70, 16, 22, 34


@dataclass(frozen=True)
class Curve:
    """A named line; bands: (low, high) at each point, for an interval."""

    name: str
    points: tuple[tuple[float, float], ...]
    bands: tuple[tuple[float, float], ...] = ()


def plot_curves(curves: Sequence[Curve], x_name: str) -> str:
    """The SVG text.

    Raises:
        ValueError: there is no curve, or one without points.
    """
    if not curves or any(not curve.points for curve in curves):
        raise ValueError(
            f"curves: got {[len(curve.points) for curve in curves]} points, expected some in each of at least one"
        )
    xs = [x for curve in curves for x, _ in curve.points]
    height = PANEL * len(curves) + BOTTOM
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
    ]
    for number, curve in enumerate(curves):
        parts += _panel(curve, number * PANEL, (min(xs), max(xs)))
    for x in sorted(set(xs)):
        parts.append(_text(_across(x, (min(xs), max(xs))), height - BOTTOM + 8, f"{x:g}", "middle"))
    parts += [_text(WIDTH / 2, height - 6, x_name, "middle"), "</svg>"]
    return "\n".join(parts) + "\n"


def _panel(curve: Curve, top: float, span: tuple[float, float]) -> list[str]:
    values = [y for _, y in curve.points] + [edge for band in curve.bands for edge in band]
    low, high = min(values), max(values)

    def down(y: float) -> float:
        share = (y - low) / (high - low) if high > low else 0.5
        return round(top + PANEL - 18 - share * (PANEL - TOP - 18), 2)

    line = " ".join(f"{_across(x, span)},{down(y)}" for x, y in curve.points)
    parts = [_text(LEFT, top + 14, curve.name, "start")]
    for value in sorted({low, high}):
        parts.append(_text(LEFT - 8, down(value) + 4, f"{value:.3g}", "end"))
        parts.append(f'<path d="M{LEFT} {down(value)}H{WIDTH - RIGHT}" stroke="#dddddd"/>')
    if curve.bands:
        xs = [x for x, _ in curve.points]
        upper = [f"{_across(x, span)},{down(band[1])}" for x, band in zip(xs, curve.bands, strict=True)]
        lower = [f"{_across(x, span)},{down(band[0])}" for x, band in zip(xs, curve.bands, strict=True)]
        parts.append(f'<polygon points="{" ".join(upper + lower[::-1])}" fill="#1f5fbf" opacity="0.15"/>')
    parts.append(f'<polyline points="{line}" fill="none" stroke="#1f5fbf" stroke-width="2"/>')
    parts += [f'<circle cx="{_across(x, span)}" cy="{down(y)}" r="3" fill="#1f5fbf"/>' for x, y in curve.points]
    return parts


def _across(x: float, span: tuple[float, float]) -> float:
    share = (x - span[0]) / (span[1] - span[0]) if span[1] > span[0] else 0.5
    return round(LEFT + share * (WIDTH - LEFT - RIGHT), 2)


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}" fill="#333333">{escape(text)}</text>'
