"""Views of the training pictures with what a photograph network says of them: the image tower's second teacher.

Captions name little of a photograph and there are few of them; the features of a network that saw a million photographs
say more about each, and about every view of it (distillation, arXiv 1503.02531). The network's weights are not taken over.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.nn import functional as F

from curation.dual_encoder_crops import View, crops, mixed, on_backdrop, pasted, pick
from curation.dual_encoder_data import Pair
from curation.sample.screenshots import draw_screenshot
from curation.sample.stylised import stylise

VIEW_SIDE_PX = 112
TARGET_DIM = 192
COCO_CROPS, CLOTHING_CROPS = 70, 10
NUM_MIXED, NUM_PASTED, NUM_STYLISED, NUM_SCREENSHOTS = 3000, 1200, 1000, 500
HELD_OUT_STYLE = "emoji_fluent3d"
_ASKED_AT_ONCE = 128
_VIEW_SIZE_PX = (VIEW_SIDE_PX, VIEW_SIDE_PX)


PictureTeacher = Callable[[Sequence[NDArray[np.uint8]]], NDArray[np.float32]]
"""Pictures (H, W, 3) uint8 to features (N, D)."""


@dataclass(frozen=True)
class TaughtViews:
    """pixels (N, 3, 112, 112) uint8; targets (N, 192), normalised; shows (N, 2), the pairs shown, -1 for none.

    Marks (N,) bool: `is_cartoon` counts where `knows_look`. The art style whose place between cartoon and photograph is
    measured later is never told, nor is a cut-out on a photograph.
    """

    pixels: torch.Tensor
    targets: torch.Tensor
    shows: torch.Tensor
    is_cartoon: torch.Tensor
    knows_look: torch.Tensor

    @property
    def owner(self) -> torch.Tensor:
        """(N,) the one pair a view shows, -1 where it shows none or two."""
        return torch.where(self.shows[:, 1] < 0, self.shows[:, 0], -1)


def make_views(pairs: Sequence[Pair], teach: PictureTeacher, seed: int) -> TaughtViews:
    """Windows and mixtures of the photographs, cut-outs, filtered photographs and drawn screens, each taught by `teach`.

    pairs: those of the training part alone.
    """
    views = _views(pairs, np.random.default_rng(seed))
    features, small, sources, shows = [], [], [], []
    while some := list(islice(views, _ASKED_AT_ONCE)):
        features.append(teach([np.asarray(view.image) for view in some]))
        small += [np.asarray(view.image.resize(_VIEW_SIZE_PX, Image.Resampling.BICUBIC)) for view in some]
        sources += [view.source for view in some]
        shows += [(view.owner, view.other) for view in some]
    named = np.array(sources)
    return TaughtViews(
        pixels=torch.from_numpy(np.stack(small)).permute(0, 3, 1, 2).contiguous(),
        targets=_principal(np.concatenate(features)),
        shows=torch.tensor(shows),
        is_cartoon=torch.from_numpy(np.char.startswith(named, "emoji")),
        knows_look=torch.from_numpy((named != HELD_OUT_STYLE) & (named != "pasted")),
    )


def _views(pairs: Sequence[Pair], rng: np.random.Generator) -> Iterator[View]:
    photographs = [
        view
        for owner, pair in enumerate(pairs)
        if pair.source.startswith("photos")
        for view in crops(pair, owner, COCO_CROPS if pair.source == "photos_coco" else CLOTHING_CROPS, rng)
    ]
    cut_outs = [(owner, pair) for owner, pair in enumerate(pairs) if pair.source.startswith("emoji")]
    yield from photographs
    partners = zip(pick(photographs, NUM_MIXED, rng), pick(photographs, NUM_MIXED, rng), strict=True)
    yield from (mixed(one, two, rng) for one, two in partners)
    for photograph in pick(photographs, NUM_STYLISED, rng):
        yield View(stylise(photograph.image, rng), "stylised", photograph.owner)
    yield from (on_backdrop(pair, owner, rng) for owner, pair in cut_outs)
    for photograph in pick(photographs, NUM_PASTED if cut_outs else 0, rng):
        owner, pair = cut_outs[int(rng.integers(len(cut_outs)))]
        yield pasted(pair, owner, photograph, rng)
    yield from (View(draw_screenshot(rng).resize((224, 224)), "screenshot") for _ in range(NUM_SCREENSHOTS))


def _principal(features: NDArray[np.float32]) -> torch.Tensor:
    """Features along their principal directions, the strong ones damped, normalised: (N, 192)."""
    centred = torch.from_numpy(features - features.mean(0))
    _, values, directions = torch.linalg.svd(centred, full_matrices=False)
    kept = min(TARGET_DIM, len(values))
    along = centred @ directions[:kept].T / values[:kept].clamp_min(1e-6).sqrt()
    return F.normalize(F.pad(along, (0, TARGET_DIM - kept)), dim=-1)
