"""The member file of the small members that `fit_fusion_members` trains."""

import json
from collections.abc import Sequence
from pathlib import Path

from ray_jobs.fusion_scenes import SIDE_PX
from ray_jobs.job_configs import SAMPLE_MODELS

CONTROLS = ("edges", "palette")
GUIDANCE = {"layout": 5.0, "colours": 2.0}
"""Where it is not the usual 3: what stands where is lost more easily in a fusion than colours are."""


def declarations(members: Sequence[str], work: Path, data: Path) -> str:
    """The member file of what stands in the work folder; see `pangu.member_file`."""
    scorer, experts = (SAMPLE_MODELS / name for name in ("scorer", "experts"))
    weights = data.resolve() / "weights"
    spaces = {"layout": f"taef2={weights / 'taef2'}", "colours": f"vaelight={weights / 'vaelight-sd'}"}
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
        lines += [f'source = "{member}"', f'space = "{spaces.get(member, spaces["layout"])}"', f'told_by = "{told_by}"']
        lines += [f'encoder = "{scorer}"', 'prediction_type = "v_prediction"', f"size = [{SIDE_PX}, {SIDE_PX}]", ""]
    if all((work / member / "config.json").is_file() for member in CONTROLS):
        lines += ["[[member]]", 'name = "edges_and_palette"', f'source = "{experts}"']
        lines += [f"controlnets = {json.dumps(list(CONTROLS))}", ""]
    return "\n".join(lines)
