"""The README of an experts folder, rendered from its card."""

from typing import Any


def render_model_card(card: dict[str, Any]) -> str:
    """Markdown with the metadata block that model hubs read. card: `experts.json` as plain data."""
    lines = [
        "---",
        "library_name: diffusers",
        "pipeline_tag: text-to-image",
        f"license: {card['licence']}",
        "language: [en, zh]",
        "tags: [pangu-draw, time-decoupled]",
        "---",
        "",
        "# PanGu-Draw experts",
        "",
        "A text-to-image model of two denoisers. The structure expert paints the noisy half of the time axis, the texture",
        "expert the clean half (arXiv 2312.16486).",
        "",
        "| expert | timesteps | prediction | weights (sha256) |",
        "|---|---|---|---|",
    ]
    for role in ("structure", "texture"):
        span = card[role]["time_range"]
        digest = card["digests"].get(role, "")[:16]
        lines.append(f"| {role} | [{span['start']}, {span['stop']}) | {card[role]['prediction_type']} | `{digest}` |")
    lines += ["", "## Style prefixes", ""]
    lines += [f"- {style}: `{prefix}`" for style, prefix in card["prefixes"].items()] or ["None."]
    lines += ["", "## Resolution buckets (height x width)", "", "| row | structure | texture |", "|---|---|---|"]
    for row in card["structure"]["buckets"]:
        structure, texture = ("x".join(map(str, row[column])) for column in ("structure", "texture"))
        lines.append(f"| {row['index']} | {structure} | {texture} |")
    lines += ["", "## Training", ""]
    lines += [f"- {name}: {value}" for name, value in card["training"].items()] or ["Nothing recorded."]
    lines += [
        "",
        "## Limits",
        "",
        "English and Chinese only. The autoencoder loses detail of small objects. Generated pictures are not photographs",
        "and must be marked as made by a machine.",
        "",
    ]
    return "\n".join(lines)
