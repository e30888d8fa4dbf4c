"""Writes what the judge found: figures.json, report.md and the picture grids."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from curation.sample.scene_captions import Prompt, caption_en
from curation.sample.scenes import Scene
from ray_jobs.judge_figures import AspectFigure, Bounded, Comparison, JudgeReport, TrendFigure
from ray_jobs.judge_grids import caption_font, prompt_grid, sweep_grid

UInt8Image = NDArray[np.uint8]
GRID_PICTURES = 32
SWEEP_ROWS = 8


def write_report(
    report: JudgeReport, prompts: Sequence[Prompt], pictures: Mapping[str, list[UInt8Image]], output: Path
) -> None:
    """Write all that is known so far; a later call replaces it."""
    (output / "figures.json").write_text(report.model_dump_json(indent=1) + "\n", encoding="utf-8")
    (output / "report.md").write_text(render_report(report), encoding="utf-8")
    captions = shown_captions(prompts)
    spread = [round(place) for place in np.linspace(0, len(prompts) - 1, min(GRID_PICTURES, len(prompts)))]
    for name in ("pair", "drawn", "decoded", "alone"):
        if name in pictures:
            grid = prompt_grid([pictures[name][at] for at in spread], [captions[at] for at in spread])
            grid.save(output / f"prompts_{name}.png")
    for trend in report.trends:
        columns = [pictures[f"{trend.style} {scale:g}"] for scale in trend.scales]
        rows = [[column[row] for column in columns] for row in range(min(SWEEP_ROWS, len(columns[0])))]
        headings = [f"s_{trend.style} = {scale:g}" for scale in trend.scales]
        sweep_grid(rows, captions[: len(rows)], headings).save(output / f"sweep_{trend.style}.png")


def shown_captions(prompts: Sequence[Prompt]) -> list[str]:
    """The prompts; where no font has Chinese characters, an English telling of the Chinese ones, marked zh."""
    _, has_chinese = caption_font()

    def shown(prompt: Prompt) -> str:
        if has_chinese or prompt.language == "en":
            return prompt.prompt
        return "zh: " + caption_en(Scene.from_json(prompt.attributes), np.random.default_rng(0))

    return [shown(prompt) for prompt in prompts]


def render_report(report: JudgeReport) -> str:
    """The report as Markdown."""
    given = report.settings
    style = f"style guidance {given.style_scale:g}" if given.style_scale else "the style's prefix in the prompt"
    parts = [
        "# Drawn scenes, read by the independent judge\n",
        f"{given.prompts} prompts of combinations that no training used, English and Chinese in turn; {given.steps} steps, "
        f"guidance {given.guidance:g}, {style}. In brackets: 95 % intervals (Wilson). Control: the same pictures "
        "against the other rows' prompts. Drawn: the same scenes drawn; decoded: those through the pair's VAE. Rows "
        "named rule_ are exact rules on pixels.\n",
    ]
    for language, figures in report.pair.items():
        parts.append(f"## Pair, {language}\n\n{_aspect_table(figures)}\n")
    if report.comparison is not None:
        parts.append(_comparison(report.comparison, report.structure_alone))
    parts += [_trend(trend) for trend in report.trends]
    if report.by_guidance:
        parts.append(_guidance_table(report.by_guidance))
    return "\n".join(parts)


def _bounded(found: Bounded | None) -> str:
    return "" if found is None else f"{found.value:.3f} ({found.low:.3f} to {found.high:.3f})"


def _aspect_table(figures: Sequence[AspectFigure]) -> str:
    lines = ["| aspect | prompts | score | control | drawn | decoded |", "|---|---|---|---|---|---|"]
    for row in figures:
        cells = [_bounded(found) for found in (row.score, row.control, row.drawn, row.decoded)]
        lines.append(f"| {row.aspect} | {row.num} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _comparison(found: Comparison, alone: Sequence[AspectFigure]) -> str:
    scores = {row.aspect: row.score for row in alone}
    lines = ["| aspect | structure alone | pair less structure alone |", "|---|---|---|"]
    lines += [f"| {name} | {_bounded(scores[name])} | {_signed(gain)} |" for name, gain in found.aspects.items()]
    kid = ", ".join(f"{name} {value:.5f}" for name, value in found.kid.items())
    likely = ", ".join(f"{name} {value:.4f}" for name, value in found.likelihood.items())
    return (
        "## Pair against its structure expert alone\n\nEqual steps, seeds and prompts; intervals by a bootstrap over "
        "prompts.\n\n"
        + "\n".join(lines)
        + "\n\nMean log-probability that the judge gives to what was asked (0 is certain): "
        f"{likely}. Pair less structure alone: {_signed(found.likelihood_difference, 4)}; above 0 the pair is plainer.\n"
        f"\nKID against {found.num_references} other drawn scenes of the same "
        f"sizes and styles, features {found.extractor}: {kid}. Pair less structure alone: "
        f"{found.kid_difference.value:+.5f} ({found.kid_difference.low:+.5f} to {found.kid_difference.high:+.5f}); "
        "below 0 the pair is nearer.\n"
    )


def _signed(found: Bounded, digits: int = 3) -> str:
    value, low, high = (f"{number:+.{digits}f}" for number in (found.value, found.low, found.high))
    return f"{value} ({low} to {high})"


def _trend(trend: TrendFigure) -> str:
    kept = list(trend.kept)
    lines = [
        f"| s_{trend.style} | {trend.style} rate | mean probability | {' | '.join(kept)} |",
        "|---|---|---|" + "---|" * len(kept),
    ]
    for at, scale in enumerate(trend.scales):
        held = " | ".join(f"{trend.kept[name][at]:.2f}" for name in kept)
        lines.append(f"| {scale:g} | {_bounded(trend.rates[at])} | {trend.probabilities[at]:.3f} | {held} |")
    return (
        f"## Neutral prompts along s_{trend.style}\n\n" + "\n".join(lines) + f"\n\n{trend.statement[:1].upper()}"
        f"{trend.statement[1:]}; from first to last {_signed(trend.rise)}, paired over prompts.\n"
    )


def _guidance_table(by_guidance: Mapping[str, Sequence[AspectFigure]]) -> str:
    aspects = [row.aspect for row in next(iter(by_guidance.values()))]
    lines = [f"| guidance | {' | '.join(aspects)} |", "|---|" + "---|" * len(aspects)]
    for guidance, figures in by_guidance.items():
        lines.append(f"| {guidance} | {' | '.join(f'{row.score.value:.3f}' for row in figures)} |")
    return "## By guidance\n\n" + "\n".join(lines) + "\n"
