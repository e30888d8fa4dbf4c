"""The member file of the small members that `fit_fusion_members` trains."""

import json
from collections.abc import Sequence
from pathlib import Path

from ray_jobs.fusion_scenes import SIDE_PX
from ray_jobs.job_configs import SAMPLE_MODELS

CONTROLS = ("edges", "palette")
GUIDANCE = {"layout": 5.0, "shapes": 5.0, "colours": 2.0}
"""Where it is not the usual 3: what stands where is lost more easily in a fusion than colours are."""
ENCODERS = {"text": SAMPLE_MODELS / "experts" / "text_encoder", "image": SAMPLE_MODELS / "scorer"}
"""What tells a member its words or its picture. Words go through the pair's own tower, which a later scorer leaves alone."""
SIDES_PX = {"colours": 128, "shapes": 128}
"""Where it is not `SIDE_PX`. At 64 px `vaelight` has 8 x 8 x 4 numbers for a picture, and its own copy of one is a blur."""


def side_of(member: str) -> int:
    """Height and width, px, of the pictures that a member is trained on and draws."""
    return SIDES_PX.get(member, SIDE_PX)


def declarations(members: Sequence[str], work: Path, data: Path) -> str:
    """The member file of what stands in the work folder; see `pangu.member_file`."""
    experts = SAMPLE_MODELS / "experts"
    weights = data.resolve() / "weights"
    taef2, vaelight = f"taef2={weights / 'taef2'}", f"vaelight={weights / 'vaelight-sd'}"
    spaces = {"layout": taef2, "example": taef2, "colours": vaelight, "shapes": vaelight}
    lines: list[str] = []
    for member in members:
        if not (work / member / "config.json").is_file():
            continue
        lines += ["[[member]]", f'name = "{member}"']
        if member in CONTROLS:
            lines += [f'source = "{experts}"', f'controlnets = ["{member}"]', ""]
            continue
        if member in GUIDANCE:
            lines.append(f"guidance = {GUIDANCE[member]}")
        told_by = "image" if member == "example" else "text"
        lines += [f'source = "{member}"', f'space = "{spaces[member]}"', f'told_by = "{told_by}"']
        side = side_of(member)
        lines += [
            f'encoder = "{ENCODERS[told_by]}"',
            'prediction_type = "v_prediction"',
            f"size = [{side}, {side}]",
            "",
        ]
    if all((work / member / "config.json").is_file() for member in CONTROLS):
        lines += ["[[member]]", 'name = "edges_and_palette"', f'source = "{experts}"']
        lines += [f"controlnets = {json.dumps(list(CONTROLS))}", ""]
    return "\n".join(lines)
