"""The sample scorer's two heads: fitted on its own embeddings, measured on pictures kept back, written beside it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from curation.clip_scorer import ClipScorer
from curation.dual_encoder_crops import crops
from curation.dual_encoder_damage import DAMAGES
from curation.dual_encoder_data import Pair
from curation.dual_encoder_evaluation import Figure, read_on_white
from curation.dual_encoder_pictures import squashed_scene
from curation.dual_encoder_text import random_aspect
from curation.dual_encoder_views import HELD_OUT_STYLE
from curation.head_fitting import FittedHead, Matrix, fit_cartoon_head, fit_ranking_head
from curation.linear_head import write_head
from curation.sample.photographs import photograph_crops
from curation.sample.scene_captions import is_held_out
from curation.sample.scenes import Style, random_scene
from curation.sample.screenshots import draw_screenshot
from curation.sample.stylised import stylise

ABSTAIN_LOW, ABSTAIN_HIGH = 0.3, 0.7
CARTOON_VERSION = "sample-cartoon-1"
QUALITY_VERSION = "sample-technical-quality-proxy-1"
Pictures = npt.NDArray[np.uint8]
"""(N, 96, 96, 3) uint8."""


def _pictures_of(pairs: Sequence[Pair]) -> Pictures:
    return read_on_white(pairs).permute(0, 2, 3, 1).contiguous().numpy()


def _drawn(style: Style, count: int, seed: int, *, held_out: bool) -> Pictures:
    rng = np.random.default_rng(seed)
    found: list[Pictures] = []
    while len(found) < count:
        aspect = random_aspect(rng)
        scene = random_scene(rng, aspect=aspect, style=style)
        if is_held_out(scene) == held_out:
            found.append(np.asarray(squashed_scene(scene, aspect, seed * 1_000_003 + len(found))))
    return np.stack(found)


def _screens(count: int, seed: int) -> Pictures:
    rng = np.random.default_rng(seed)
    return np.stack([np.asarray(draw_screenshot(rng).resize((96, 96))) for _ in range(count)])


def _filtered(photographs: Pictures, count: int, seed: int) -> Pictures:
    rng = np.random.default_rng(seed)
    chosen = rng.integers(0, len(photographs), count)
    return np.stack([np.asarray(stylise(Image.fromarray(photographs[at]), rng)) for at in chosen])


def _windows(pairs: Sequence[Pair], seed: int, *, count: int = 3) -> Pictures:
    """`count` windows of every photograph, half of them with other colours: there are few whole ones to learn from."""
    rng = np.random.default_rng(seed)
    found = [view for owner, pair in enumerate(pairs) for view in list(crops(pair, owner, 1 + count, rng))[1:]]
    return np.stack([np.asarray(view.image.resize((96, 96), Image.Resampling.BICUBIC)) for view in found])


def _installed_photographs() -> Pictures:
    """Crops of the photographs that ship with libraries: no tower and no head has learned from them."""
    return np.stack([np.asarray(crop.image.resize((96, 96))) for crop in photograph_crops()])


def damaged(pictures: Pictures, name: str, seed: int) -> Pictures:
    """The pictures with one kind of damage at random severities."""
    torch.manual_seed(seed)
    rows = torch.from_numpy(pictures).permute(0, 3, 1, 2).float()
    result = DAMAGES[name](rows, torch.rand(len(rows), 1, 1, 1) * 0.95 + 0.05)
    return result.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()


def fit_heads(folder: Path, pairs: Sequence[Pair], *, num_drawn: int = 900, seed: int = 0) -> list[Figure]:
    """Fit and write `cartoon_head.safetensors` and `aesthetic_head.safetensors` for the scorer in `folder`.

    `num_drawn` scenes a style are drawn to fit on. Returns the figures on held-out pictures. The second head is a
    proxy for technical quality, not taste: see the card.
    """
    scorer = ClipScorer(folder)
    by_part = {
        (source, part): _pictures_of(chosen)
        for source in (*EMOJI, "photos")
        for part in ("train", "held_out")
        if (
            chosen := [
                pair for pair in pairs if pair.source.startswith(source) and (pair.part == "train") == (part == "train")
            ]
        )
    }
    for held_out in (False, True):
        part, count, start = (
            ("held_out", 1 + num_drawn // 4, seed + 91) if held_out else ("train", num_drawn, seed + 17)
        )
        by_part["flat", part] = _drawn("flat", count, start, held_out=held_out)
        by_part["shaded", part] = _drawn("shaded", count, start + 1, held_out=held_out)
        by_part["screens", part] = _screens(count // 2, start + 2)
        by_part["filtered photographs", part] = _filtered(by_part["photos", part], count, start + 3)
    photographs = [pair for pair in pairs if pair.source.startswith("photos") and pair.part == "train"]
    by_part["photograph windows", "train"] = _windows(photographs, seed + 5)
    by_part["installed photographs", "held_out"] = _installed_photographs()
    embedded = {key: scorer.embed_images(pictures) for key, pictures in by_part.items()}
    cartoon, cartoon_figures = _cartoon(embedded)
    quality, quality_figures = _quality(scorer, by_part, embedded, seed)
    for name, head, version in (("cartoon", cartoon, CARTOON_VERSION), ("aesthetic", quality, QUALITY_VERSION)):
        write_head(folder / f"{name}_head.safetensors", [(head.weight, head.bias)], scorer.fingerprint, version)
    return cartoon_figures + quality_figures


Embedded = dict[tuple[str, str], Matrix]
EMOJI = ("emoji_noto", "emoji_fluent3d")
_CARTOONS = (*EMOJI, "flat")


def _cartoon(embedded: Embedded) -> tuple[FittedHead, list[Figure]]:
    """The head fitted on every source, and figures; the held-out art style's come from a head that never saw it."""
    head = _cartoon_head(embedded, without="")
    figures = []
    for (source, part), rows in embedded.items():
        if part != "train":
            figures += _called(f"cartoon head, {source}", head, rows, is_cartoon=source in _CARTOONS)
    blind = _cartoon_head(embedded, without=HELD_OUT_STYLE)
    unseen = np.concatenate([rows for (source, _), rows in embedded.items() if source == HELD_OUT_STYLE])
    return head, figures + _called(
        f"cartoon head, art style held out ({HELD_OUT_STYLE})", blind, unseen, is_cartoon=True
    )


def _cartoon_head(embedded: Embedded, without: str) -> FittedHead:
    train = {source: rows for (source, part), rows in embedded.items() if part == "train" and source != without}
    cartoons = [rows for source, rows in train.items() if source in _CARTOONS]
    return fit_cartoon_head(cartoons, [rows for source, rows in train.items() if source not in _CARTOONS])


def _called(name: str, head: FittedHead, rows: Matrix, *, is_cartoon: bool) -> list[Figure]:
    """How many of the decided are right, how many are right at all (an abstention is none), how many were left open."""
    probability = 1 / (1 + np.exp(-head(rows)))
    is_sure = (probability <= ABSTAIN_LOW) | (probability >= ABSTAIN_HIGH)
    is_right = (probability >= ABSTAIN_HIGH) if is_cartoon else (probability <= ABSTAIN_LOW)
    of_decided = float(is_right[is_sure].mean()) if is_sure.any() else 0.0
    return [
        Figure(f"{name}, right of the decided", of_decided, 0.5, int(is_sure.sum())),
        Figure(f"{name}, right of all", float(is_right.mean()), 0.5, len(rows)),
        Figure(f"{name}, abstained", float(1 - is_sure.mean()), 0.0, len(rows), lower_is_better=True),
    ]


def _quality(
    scorer: ClipScorer, by_part: dict[tuple[str, str], Pictures], embedded: Embedded, seed: int
) -> tuple[FittedHead, list[Figure]]:
    clean, worse = [], []
    for number, name in enumerate(DAMAGES):
        for (source, part), pictures in by_part.items():
            if part != "train":
                continue
            rows = np.random.default_rng((seed, number)).permutation(len(pictures))[:200]
            clean.append(embedded[source, part][rows])
            worse.append(scorer.embed_images(damaged(pictures[rows], name, seed + number)))
    head = fit_ranking_head(np.concatenate(clean), np.concatenate(worse))
    figures = []
    for number, name in enumerate(DAMAGES):
        right = []
        for (source, part), pictures in by_part.items():
            if part == "train":
                continue
            rows = np.arange(len(pictures))[:150]
            ranked = head(scorer.embed_images(damaged(pictures[rows], name, seed + 50 + number)))
            right.append(head(embedded[source, part][rows]) > ranked)
        ranked_right = np.concatenate(right)
        figures.append(Figure(f"quality head, clean above {name}", float(ranked_right.mean()), 0.5, len(ranked_right)))
    return head, figures
