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


PictureTeacher = Callable[[Sequence[NDArray[np.uint8]]], NDArray[np.float32]]
"""Pictures (H, W, 3) uint8 to features (N, D)."""


@dataclass(frozen=True)
class TaughtViews:
    """pixels (N, 3, 112, 112) uint8; targets (N, 192), normalised; owner (N,) the pair shown, -1 for none; marks (N,) bool.

    `is_cartoon` counts where `knows_look`: the art style whose place between cartoon and photograph is measured later is
    never told.
    """

    pixels: torch.Tensor
    targets: torch.Tensor
    owner: torch.Tensor
    is_cartoon: torch.Tensor
    knows_look: torch.Tensor


@dataclass(frozen=True)
class _View:
    image: Image.Image
    source: str
    owner: int = -1


def make_views(pairs: Sequence[Pair], teach: PictureTeacher, seed: int) -> TaughtViews:
    """Crops of the photographs, emoji on backdrops, filtered photographs and drawn screens, each taught by `teach`.

    pairs: those of the training part alone.
    """
    rng = np.random.default_rng(seed)
    views = [
        view
        for owner, pair in enumerate(pairs)
        if pair.source.startswith("photos")
        for view in _crops(pair, owner, COCO_CROPS if pair.source == "photos_coco" else CLOTHING_CROPS, rng)
    ]
    chosen = rng.integers(0, len(views), NUM_STYLISED)
    views += [_View(stylise(views[at].image.resize((224, 224)), rng), "stylised") for at in chosen]
    views += [_on_backdrop(pair, owner, rng) for owner, pair in enumerate(pairs) if pair.source.startswith("emoji")]
    views += [_View(draw_screenshot(rng), "screenshot") for _ in range(NUM_SCREENSHOTS)]
    features = teach([np.asarray(view.image.resize((224, 224), Image.Resampling.BICUBIC)) for view in views])
    sources = np.array([view.source for view in views])
    small = (VIEW_SIDE_PX, VIEW_SIDE_PX)
    pixels = np.stack([np.asarray(view.image.resize(small, Image.Resampling.BICUBIC)) for view in views])
    return TaughtViews(
        pixels=torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous(),
        targets=_principal(features),
        owner=torch.tensor([view.owner for view in views]),
        is_cartoon=torch.from_numpy(np.char.startswith(sources, "emoji")),
        knows_look=torch.from_numpy(sources != HELD_OUT_STYLE),
    )


@dataclass(frozen=True)
class CaptionSpaceTeacher:
    """Where the captions of each view should lie: offsets (N, 256), normalised, from the captions' mean (256,).

    A ridge regression from the teacher's features to the captions of the training pictures, so that it also says something
    of filtered photographs and screens, which have none.
    """

    offsets: torch.Tensor
    mean: torch.Tensor

    def loss(self, rows: torch.Tensor, found: torch.Tensor) -> torch.Tensor:
        """One minus the mean cosine of embeddings (B, 256), less the mean, with the offsets of `rows`."""
        return 1 - F.cosine_similarity(found - self.mean, self.offsets[rows], dim=-1).mean()


def fit_caption_space(views: TaughtViews, centres: torch.Tensor, *, penalty: float = 0.3) -> CaptionSpaceTeacher:
    """The regression; centres (P, 256) are the normalised mean caption embeddings of the pairs that `views` were made of.

    Every pair weighs the same, however many views it has.
    """
    owned = views.owner >= 0
    owners = views.owner[owned]
    weight = 1.0 / torch.bincount(owners, minlength=len(centres))[owners].float()[:, None]
    wanted = centres[owners]
    mean = (wanted * weight).sum(0) / weight.sum()
    features = views.targets[owned]
    gram = features.T @ (weight * features) + penalty * torch.eye(features.shape[1])
    directions = torch.linalg.solve(gram, features.T @ (weight * (wanted - mean)))
    return CaptionSpaceTeacher(F.normalize(views.targets @ directions, dim=-1), mean)


def _crops(pair: Pair, owner: int, count: int, rng: np.random.Generator) -> list[_View]:
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
        found.append(_View(image.crop(box).resize((256, 256), Image.Resampling.BICUBIC), pair.source, owner))
    return found


def _on_backdrop(pair: Pair, owner: int, rng: np.random.Generator) -> _View:
    colour = (255, 255, 255) if rng.random() < 0.5 else tuple(int(v) for v in rng.integers(0, 256, 3))
    with Image.open(pair.path) as opened:
        cut_out = opened.convert("RGBA").resize((128, 128), Image.Resampling.BICUBIC)
    backdrop = Image.new("RGB", cut_out.size, colour)
    backdrop.paste(cut_out, mask=cut_out)
    return _View(backdrop, pair.source, owner)


def _principal(features: NDArray[np.float32]) -> torch.Tensor:
    """Features along their principal directions, the strong ones damped, normalised: (N, 192)."""
    centred = torch.from_numpy(features - features.mean(0))
    _, values, directions = torch.linalg.svd(centred, full_matrices=False)
    kept = min(TARGET_DIM, len(values))
    along = centred @ directions[:kept].T / values[:kept].clamp_min(1e-6).sqrt()
    return F.normalize(F.pad(along, (0, TARGET_DIM - kept)), dim=-1)
