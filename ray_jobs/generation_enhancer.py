"""The prompt enhancer in batch: loaded by the workers of generate_images, both texts kept in the row."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ray_jobs.folder_versions import fetch_version
from ray_jobs.job_configs import GenerateImages
from ray_jobs.manifest import Manifest
from ray_jobs.store import Store

if TYPE_CHECKING:
    from pangu.enhancer import PromptEnhancer

ROWS_PER_BATCH = 16
"""The enhancer's padded batch; the shape decides bits, so it is no setting."""


def load_enhancer(store: Store, config: GenerateImages, version: Manifest | None) -> "PromptEnhancer | None":
    """The enhancer that a run asks for, or None; version: the published one, where the config names no other."""
    if config.enhance is None:
        return None
    from pangu.enhancer import PromptEnhancer
    from ray_jobs.device import torch_device

    device = torch_device(config.runtime)
    if version is None:
        return PromptEnhancer.load(config.enhance, device, rows_per_batch=ROWS_PER_BATCH)
    with tempfile.TemporaryDirectory(prefix="pangu-enhancer-") as name:
        folder = fetch_version(store, version, Path(name))
        return PromptEnhancer.load(folder, device, rows_per_batch=ROWS_PER_BATCH)


def enhance_rows(enhancer: "PromptEnhancer", rows: list[dict[str, Any]]) -> None:
    """Give every row without a reason its enhanced prompt, from its prompt, language and seed; a refused one its reason."""
    from pangu.expansion import ExpansionRequest

    chosen = [row for row in rows if row["reason"] is None]
    asked = [ExpansionRequest(row["prompt"], row["seed"], row["language"] or "en") for row in chosen]
    for row, found in zip(chosen, enhancer.enhance_all(asked), strict=True):
        if found.text is None:
            row["reason"] = f"refused: {found.note}"
        else:
            row["enhanced_prompt"] = found.text
