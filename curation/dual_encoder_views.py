"""Views of the training pictures with what a photograph network says of them: the image tower's second teacher.

Captions name little of a photograph and there are few of them; the features of a network that saw a million photographs
say more about each, and about every crop of it (distillation, arXiv 1503.02531). The network's weights are not taken over.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch.nn import functional as F

from curation.dual_encoder_data import Pair
from curation.sample.screenshots import draw_screenshot
from curation.sample.stylised import stylise

VIEW_SIDE_PX = 112
TARGET_DIM = 192
COCO_CROPS, CLOTHING_CROPS = 30, 5
NUM_STYLISED, NUM_SCREENSHOTS = 700, 500
HELD_OUT_STYLE = "emoji_fluent3d"


@dataclass(frozen=True)
class TaughtPictures:
    """What the teacher says of N pictures: features (N, D) and the place of each in its text space (N, 384)."""

    features: NDArray[np.float32]
    words: NDArray[np.float32]


PictureTeacher = Callable[[Sequence[NDArray[np.uint8]]], TaughtPictures]


@dataclass(frozen=True)
class TaughtViews:
    """pixels (N, 3, 112, 112) uint8; targets (N, 192) and words (N, 384), normalised; three marks (N,) bool.

    `words` counts where `has_words`; `is_cartoon` where `knows_look`: the art style whose place between cartoon and
    photograph is measured later is never told.
    """

    pixels: torch.Tensor
    targets: torch.Tensor
    words: torch.Tensor
    has_words: torch.Tensor
    is_cartoon: torch.Tensor
    knows_look: torch.Tensor


@dataclass(frozen=True)
class _View:
    image: Image.Image
    source: str


def make_views(pairs: Sequence[Pair], teach: PictureTeacher, seed: int) -> TaughtViews:
    """Crops of the photographs, emoji on backdrops, filtered photographs and drawn screens, each taught by `teach`.

    pairs: those of the training part alone.
    """
    rng = np.random.default_rng(seed)
    photographs = [pair for pair in pairs if pair.source.startswith("photos")]
    views = [
        view
        for pair in photographs
        for view in _crops(pair, COCO_CROPS if pair.source == "photos_coco" else CLOTHING_CROPS, rng)
    ]
    chosen = rng.integers(0, len(views), NUM_STYLISED)
    views += [_View(stylise(views[at].image.resize((224, 224)), rng), "stylised") for at in chosen]
    views += [_on_backdrop(pair, rng) for pair in pairs if pair.source.startswith("emoji")]
    views += [_View(draw_screenshot(rng), "screenshot") for _ in range(NUM_SCREENSHOTS)]
    taught = teach([np.asarray(view.image.resize((224, 224), Image.Resampling.BICUBIC)) for view in views])
    sources = np.array([view.source for view in views])
    small = (VIEW_SIDE_PX, VIEW_SIDE_PX)
    pixels = np.stack([np.asarray(view.image.resize(small, Image.Resampling.BICUBIC)) for view in views])
    return TaughtViews(
        pixels=torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous(),
        targets=_principal(taught.features),
        words=F.normalize(torch.from_numpy(taught.words), dim=-1),
        has_words=torch.from_numpy(sources == "photos_coco"),
        is_cartoon=torch.from_numpy(np.char.startswith(sources, "emoji")),
        knows_look=torch.from_numpy(sources != HELD_OUT_STYLE),
    )


def _crops(pair: Pair, count: int, rng: np.random.Generator) -> list[_View]:
    """Windows of 15 % of the area and more, of a side ratio between 3:4 and 4:3."""
    with Image.open(pair.path) as opened:
        image = ImageOps.exif_transpose(opened).convert("RGB")
    lowest = 0.15 if pair.source == "photos_coco" else 0.5
    found = []
    for _ in range(count):
        share, aspect = np.sqrt(rng.uniform(lowest, 1.0)), np.exp(rng.uniform(-0.28, 0.28))
        width = min(image.width, max(8, round(image.width * share * aspect**0.5)))
        height = min(image.height, max(8, round(image.height * share / aspect**0.5)))
        left, top = rng.integers(0, image.width - width + 1), rng.integers(0, image.height - height + 1)
        box = (int(left), int(top), int(left) + width, int(top) + height)
        found.append(_View(image.crop(box).resize((256, 256), Image.Resampling.BICUBIC), pair.source))
    return found


def _on_backdrop(pair: Pair, rng: np.random.Generator) -> _View:
    colour = (255, 255, 255) if rng.random() < 0.5 else tuple(int(v) for v in rng.integers(0, 256, 3))
    with Image.open(pair.path) as opened:
        cut_out = opened.convert("RGBA").resize((128, 128), Image.Resampling.BICUBIC)
    backdrop = Image.new("RGB", cut_out.size, colour)
    backdrop.paste(cut_out, mask=cut_out)
    return _View(backdrop, pair.source)


def _principal(features: NDArray[np.float32]) -> torch.Tensor:
    """Features along their principal directions, the strong ones damped, normalised: (N, 192)."""
    centred = torch.from_numpy(features - features.mean(0))
    _, values, directions = torch.linalg.svd(centred, full_matrices=False)
    kept = min(TARGET_DIM, len(values))
    along = centred @ directions[:kept].T / values[:kept].clamp_min(1e-6).sqrt()
    return F.normalize(F.pad(along, (0, TARGET_DIM - kept)), dim=-1)
