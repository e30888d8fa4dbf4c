"""Writes what `judge_fusion` measured: for each case figures, a table, a grid of pictures and curves over d."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ray_jobs.sweep_plot import Curve, plot_curves

if TYPE_CHECKING:
    from ray_jobs.judge_figures import Bounded
    from ray_jobs.judge_fusion import CaseReport

UInt8Image = NDArray[np.uint8]
COLUMNS = 12


def write_fusion_report(report: "CaseReport", pictures: Mapping[str, Sequence[UInt8Image]], output: Path) -> None:
    """NAME.json, NAME.md, NAME.png (a row for each that drew), NAME.svg (scores over d)."""
    name = report.case.replace("+", "-").replace(":", "_")
    (output / f"{name}.json").write_text(report.model_dump_json(indent=1) + "\n", encoding="utf-8")
    (output / f"{name}.md").write_text(markdown(report, tuple(pictures)), encoding="utf-8")
    Image.fromarray(grid(list(pictures.values()))).save(output / f"{name}.png")
    curves = []
    for member in dict.fromkeys(figure.member for figure in report.figures):
        own = [figure for figure in report.figures if figure.member == member and figure.weight is not None]
        own.sort(key=lambda figure: figure.weight or 0.0)
        points = tuple((figure.weight or 0.0, figure.fused.value) for figure in own)
        bands = tuple((figure.fused.low, figure.fused.high) for figure in own)
        curves.append(Curve(f"{member}: score on its own condition", points, bands))
    (output / f"{name}.svg").write_text(plot_curves(curves, "d"), encoding="utf-8")


def grid(rows: Sequence[Sequence[UInt8Image]]) -> UInt8Image:
    """The first pictures of every row; members may differ in size, and all are shown at the largest, pixels repeated."""
    shown = [[Image.fromarray(image) for image in images[:COLUMNS]] for images in rows]
    size = max((image.size for images in shown for image in images), key=max)
    resized = [[np.asarray(image.resize(size, Image.Resampling.NEAREST)) for image in images] for images in shown]
    return np.concatenate([np.concatenate(images, axis=1) for images in resized])


def markdown(report: "CaseReport", rows: Sequence[str]) -> str:
    """The table for people."""
    lines = [
        f"# {report.case}, {report.steps} steps, n = {report.figures[0].num}",
        "",
        f"The grid's rows: {', '.join(rows)}.",
        "",
        "| member's condition | d | alone | fused | other member alone | kept | holds |",
        "|---|---|---|---|---|---|---|",
    ]
    for figure in report.figures:
        weight = "feature addition" if figure.weight is None else f"{figure.weight:g}"
        cells = [_said(each) for each in (figure.solo, figure.fused, figure.control, figure.kept)]
        holds = "yes" if figure.holds else "no"
        lines.append(f"| {figure.member} | {weight} | {' | '.join(cells)} | {holds} |")
    rule = ", ".join(f"{name} {value:.2f}" for name, value in report.rule_colour.items())
    return "\n".join([*lines, "", f"Asked colour found by the exact rule: {rule}."]) + "\n"


def _said(value: "Bounded") -> str:
    return f"{value.value:.3f} ({value.low:.3f} to {value.high:.3f})"
