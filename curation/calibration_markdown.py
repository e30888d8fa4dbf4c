"""Writes a style classifier's report for people, from what stands in its report.json."""

from collections.abc import Sequence
from typing import Any

from curation.calibration import MIDDLE

_LARGEST_TABLE = 40


def report_markdown(report: dict[str, Any]) -> str:
    """The report as Markdown; `reliability.png` stands beside it."""
    found, settings = report["calibration"], report["calibration"]["band_settings"]
    rows, split = report["rows"], report["split"]
    lines = [f"# Style classifier: {report['positive']!r} or not", ""]
    lines += [f"- tower: {report['tower']['source']}, fingerprint {report['tower']['fingerprint'][:16]}"]
    lines += [f"- head: {report['head']['file']}, version {report['head']['version']}"]
    lines += [f"- labels: {', '.join(f'{name} {number}' for name, number in report['labels'].items())}"]
    left = ", ".join(f"{reason} {number}" for reason, number in rows["left"].items()) or "none"
    lines += [
        f"- pictures: {rows['listed']} listed, {rows['used']} used; left out: {left}; other files: {rows['ignored']}"
    ]
    lines += [
        f"- split: {split['folds']} folds of {split['units']} units (a group, or pictures that look the same; the largest "
        f"holds {split['largest_unit']}); inverse regularisation {report['head']['strength']}, by fold "
        f"{', '.join(map(str, report['head']['strengths_of_folds']))}",
        "",
        "Every figure is of pictures whose unit the head, its regularisation and its scale had not seen.",
        "",
    ]
    if found["warnings"]:
        lines += ["## Beware", "", *(f"- {text}" for text in found["warnings"]), ""]
    lines += ["![reliability](reliability.png)", "", "## Figures", "", "| | value | beside it |", "|---|---|---|"]
    low, high = found["area_interval"]
    mean, top = found["error_if_perfect"]
    scaled, raw = found["figures"], found["raw_figures"]
    lines += [
        f"| area under the ROC curve | {found['area']:.4f} | 95 % interval {low:.4f} to {high:.4f}; chance 0.5 |",
        f"| Brier score | {scaled['brier']:.4f} | before scaling {raw['brier']:.4f}; always telling the share "
        f"{found['told_share_brier']:.4f} |",
        f"| log loss, nats | {scaled['log_loss']:.4f} | before scaling {raw['log_loss']:.4f} |",
        f"| calibration error (equal-mass bins) | {scaled['calibration_error']:.4f} | before scaling "
        f"{raw['calibration_error']:.4f}; a perfect classifier shows {mean:.4f}, in 1 of 20 cases over {top:.4f} |",
        f"| scale ({found['method']}) | slope {found['scale']['slope']:.3f}, offset {found['scale']['offset']:.3f} "
        "| folded into the head's weights |",
        "",
        *_band_lines(found, settings),
        *_reliability_lines("Reliability, all pictures", found["reliability"]),
        *_reliability_lines(f"Reliability between {MIDDLE[0]} and {MIDDLE[1]}", found["reliability_in_doubt"]),
    ]
    for kind, table in found["strata"].items():
        lines += _stratum_lines(kind, table)
    return "\n".join(lines) + "\n"


def _band_lines(found: dict[str, Any], settings: dict[str, Any]) -> list[str]:
    band = found["band"]
    low, high = band["negative"]["threshold"], band["positive"]["threshold"]
    share = settings["positive_share"]
    pool = "the labelled pictures" if share is None else f"a pool with {share:.1%} positives"
    lines = ["## Abstain band", "", f"Sure of the style at {high} and above, sure of its absence at {low} and below."]
    lines += [
        f"Wanted: a precision of {settings['precision']} in {pool}, by a one-sided Wilson bound at confidence "
        f"{settings['confidence']}{'' if share is None else ' of recall and of false rate each'}.",
        "",
        "| side | decided | right | precision | at least | recall | shown |",
        "|---|---|---|---|---|---|---|",
    ]
    told = [("positive, published band", band["positive"]), ("negative, published band", band["negative"])]
    told += [("positive, each fold by the others' band", found["cross_fitted"][1])]
    told += [("negative, each fold by the others' band", found["cross_fitted"][0])]
    for name, side in told:
        precision = "none" if side["precision"] is None else f"{side['precision']:.4f}"
        lines.append(
            f"| {name} | {side['num']} | {side['num_right']} | {precision} | {side['precision_low']:.4f} "
            f"| {side['recall']:.4f} | {'yes' if side['is_shown'] else 'no'} |"
        )
    bands = ", ".join(f"{low} to {high}" for low, high in found["bands_of_folds"])
    return [*lines, "", f"Bands that the folds chose: {bands}.", ""]


def _reliability_lines(heading: str, table: Sequence[dict[str, Any]]) -> list[str]:
    lines = [f"## {heading}", "", "| pictures | told | true | 95 % interval |", "|---|---|---|---|"]
    for one in table:
        lines.append(
            f"| {one['num']} | {one['mean_probability']:.4f} | {one['positive_share']:.4f} "
            f"| {one['share_low']:.4f} to {one['share_high']:.4f} |"
        )
    return [*lines, ""]


def _stratum_lines(kind: str, table: Sequence[dict[str, Any]]) -> list[str]:
    lines = [f"## By {kind}", "", f"| {kind} | pictures | of the style | called so | called other | left open | wrong "]
    lines[-1] += "| wrong at most | mean told |"
    lines.append("|---" * 9 + "|")
    for row in table[:_LARGEST_TABLE]:
        lines.append(
            f"| {row['name'].replace('|', '/')} | {row['num']} | {row['num_positive']} | {row['called_positive']} "
            f"| {row['called_other']} | {row['left_open']} | {row['num_wrong']} | {row['wrong_high']:.3f} "
            f"| {row['mean_probability']:.3f} |"
        )
    if len(table) > _LARGEST_TABLE:
        lines.append(f"\n{len(table) - _LARGEST_TABLE} smaller ones are in report.json.")
    return [*lines, ""]
