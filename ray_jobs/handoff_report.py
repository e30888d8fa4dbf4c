"""Writes what `compare_handoff` measured: figures.json, report.md, grid.png and the sweep as an SVG."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ray_jobs.sweep_plot import Curve, plot_curves

if TYPE_CHECKING:
    from ray_jobs.compare_handoff import HandOffReport
    from ray_jobs.judge_figures import Bounded

UInt8Image = NDArray[np.uint8]
COLUMNS = 12


def write_handoff_report(
    report: "HandOffReport", texts: Sequence[str], pictures: Mapping[str, Sequence[UInt8Image]], output: Path
) -> None:
    """All files of one comparison; grid.png has a row a way."""
    (output / "figures.json").write_text(report.model_dump_json(indent=1) + "\n", encoding="utf-8")
    (output / "report.md").write_text(markdown(report, texts), encoding="utf-8")
    rows = [np.concatenate(list(images[:COLUMNS]), axis=1) for images in pictures.values()]
    Image.fromarray(np.concatenate(rows)).save(output / "grid.png")
    if report.sweep:
        at = [way.stop for way in report.sweep]
        kid = Curve("KID", tuple(zip(at, [way.kid for way in report.sweep], strict=True)))
        seconds = Curve("s an item", tuple(zip(at, [way.seconds for way in report.sweep], strict=True)))
        (output / "sweep.svg").write_text(plot_curves([kid, seconds], "T_low (small model's last timestep)"), "utf-8")


def markdown(report: "HandOffReport", texts: Sequence[str]) -> str:
    """The tables for people."""
    given = report.settings
    low, high = (f"{height} x {width}" for height, width in (report.low, report.high))
    lines = [
        f"# {low} px handed to {high} px",
        "",
        f"{len(texts)} prompts, seeds {', '.join(map(str, given.seeds))}, {given.steps} steps, guidance {given.guidance:g}; "
        f"{report.num_references} references; features {report.extractor}. Processor seconds on one thread.",
        "",
        "| way | stop, restart | FID | KID (by seed) | IS | CLIP | s an item | TFLOP |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for way in report.ways:
        by_seed = ", ".join(f"{value:.4f}" for value in way.kid_by_seed)
        score = "" if way.inception_score is None else f"{way.inception_score:.2f}"
        clip = "" if way.clip is None else f"{way.clip:.1f}"
        lines.append(
            f"| {way.way} | {way.stop:.0f}, {way.restart:.0f} | {way.fid:.1f} | {way.kid:.4f} ({by_seed}) | {score} | "
            f"{clip} | {way.seconds:.3f} | {way.teraflops:.4f} |"
        )
    lines += [
        "",
        "| KID of the hand-off less that of | all seeds (95 % interval) | by seed | its time / the hand-off's |",
        "|---|---|---|---|",
    ]
    for name, found in report.differences.items():
        by_seed = "; ".join(map(_told, found))
        lines.append(f"| {name} | {_told(report.together[name])} | {by_seed} | {report.time_ratios[name]:.2f} |")
    if report.sweep:
        lines += ["", "| T_low | restart | KID | s an item |", "|---|---|---|---|"]
        lines += [f"| {w.stop:.0f} | {w.restart:.0f} | {w.kid:.4f} | {w.seconds:.3f} |" for w in report.sweep]
    return "\n".join(lines) + "\n"


def _told(found: "Bounded") -> str:
    return f"{found.value:+.4f} ({found.low:+.4f} to {found.high:+.4f})"
