"""The pictures the image tower learns from, held in memory with the frozen embeddings of their captions."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from tokenizers import Tokenizer
from torch import nn
from torch.nn import functional as F

from curation.dual_encoder import IMAGE_SIDE_PX, encode_texts
from curation.dual_encoder_data import Pair, read_picture
from curation.dual_encoder_text import attribute_targets, random_aspect, training_scene
from curation.sample.scene_captions import caption, near_misses
from curation.sample.scenes import Scene, draw

NUM_MISSES = 5
_HANDED = re.compile(r"left|right|arrow|clock|button|flag|\d")


@dataclass(frozen=True)
class DrawnPictures:
    """Scenes: pixels (N, 3, 96, 96) uint8, captions (N, 2, 256) in en and zh, misses (N, 5, 256).

    `targets` (N, 9) are the attribute classes, `is_flat` (N,) tells the flat drawings from the shaded ones.
    """

    pixels: torch.Tensor
    captions: torch.Tensor
    misses: torch.Tensor
    targets: torch.Tensor
    is_flat: torch.Tensor


def squashed_scene(scene: Scene, aspect: float, seed: int) -> Image.Image:
    """The scene drawn at `aspect` in about 96 x 96 px of area, then squashed to the model's square."""
    size = (round(IMAGE_SIDE_PX * aspect**0.5), round(IMAGE_SIDE_PX / aspect**0.5))
    return draw(scene, size, seed).resize((IMAGE_SIDE_PX, IMAGE_SIDE_PX), Image.Resampling.BICUBIC)


def draw_pictures(model: nn.Module, tokenizer: Tokenizer, num_scenes: int, seed: int) -> DrawnPictures:
    """`num_scenes` scenes with the embeddings of two captions and of near misses (a miss may stand twice)."""
    rng = np.random.default_rng(seed)
    pixels = np.zeros((num_scenes, IMAGE_SIDE_PX, IMAGE_SIDE_PX, 3), np.uint8)
    texts: list[str] = []
    targets, is_flat = [], []
    for number in range(num_scenes):
        aspect = random_aspect(rng)
        scene = training_scene(rng, aspect)
        pixels[number] = np.asarray(squashed_scene(scene, aspect, seed * 1_000_003 + number))
        misses = list(near_misses(scene, rng).values())
        texts += [caption(scene, "en", rng), caption(scene, "zh", rng)]
        for at in range(NUM_MISSES):
            texts.append(caption(misses[at % len(misses)], "en" if rng.random() < 0.5 else "zh", rng))
        targets.append(attribute_targets(scene))
        is_flat.append(scene.style == "flat")
    found = encode_texts(model, tokenizer, texts).reshape(num_scenes, 2 + NUM_MISSES, -1)
    return DrawnPictures(
        pixels=torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous(),
        captions=found[:, :2].contiguous(),
        misses=found[:, 2:].contiguous(),
        targets=torch.tensor(targets),
        is_flat=torch.tensor(is_flat),
    )


@dataclass(frozen=True)
class NamedPictures:
    """Emoji, clothing and photos: RGBA (N, 4, 112, 112) uint8 with soft targets over a bank of captions a language.

    `banks[language]`: (T, 256); `wanted[language]`: (N, T) rows that sum to one, zero where there is no caption.
    """

    pixels: torch.Tensor
    sources: tuple[str, ...]
    may_mirror: torch.Tensor
    banks: dict[str, torch.Tensor]
    wanted: dict[str, torch.Tensor]


def read_named_pictures(model: nn.Module, tokenizer: Tokenizer, pairs: Sequence[Pair]) -> NamedPictures:
    """The pictures of `pairs`, and for every language the targets: own captions, softened towards close meanings."""
    pixels = np.stack([read_picture(pair.path) for pair in pairs])
    banks, wanted = {}, {}
    for language in ("en", "zh"):
        told = [pair.captions_en if language == "en" else pair.captions_zh for pair in pairs]
        names = sorted({text for texts in told for text in texts})
        position = {name: index for index, name in enumerate(names)}
        bank = encode_texts(model, tokenizer, names)
        own = torch.zeros(len(pairs), len(names))
        for row, texts in enumerate(told):
            own[row, [position[text] for text in texts]] = 1.0
        own /= own.sum(1, keepdim=True).clamp_min(1)
        centre = F.normalize(own @ bank, dim=-1)
        soft = torch.softmax(centre @ bank.T / 0.06, dim=1) * (own.sum(1, keepdim=True) > 0)
        banks[language], wanted[language] = bank, 0.85 * own + 0.15 * soft
    return NamedPictures(
        pixels=torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous(),
        sources=tuple(pair.source for pair in pairs),
        may_mirror=torch.tensor([not _HANDED.search(" ".join(pair.captions_en)) for pair in pairs]),
        banks=banks,
        wanted=wanted,
    )


def caption_centres(model: nn.Module, tokenizer: Tokenizer, pairs: Sequence[Pair]) -> torch.Tensor:
    """The normalised mean of each pair's English caption embeddings, (N, 256)."""
    names = sorted({text for pair in pairs for text in pair.captions_en})
    position = {name: index for index, name in enumerate(names)}
    bank = encode_texts(model, tokenizer, names)
    means = [bank[[position[text] for text in pair.captions_en]].mean(0) for pair in pairs]
    return F.normalize(torch.stack(means), dim=-1)


def augment_named(pixels: torch.Tensor, may_mirror: torch.Tensor, is_cut_out: torch.Tensor) -> torch.Tensor:
    """Random crop, turn, mirror, backdrop and light: (B, 4, 112, 112) uint8 to (B, 3, 96, 96) float in [0, 255].

    Cut-outs (`is_cut_out`) may also shrink before their backdrop; photos are only cropped.
    """
    count = len(pixels)
    lowest = torch.where(is_cut_out, 0.78, 0.6)
    highest = torch.where(is_cut_out, 1.55, 1.0)
    scale = lowest + (highest - lowest) * torch.rand(count)
    stretch = torch.exp(0.22 * (torch.rand(count) - 0.5))
    angle = torch.randn(count) * 0.10
    mirror = torch.where(may_mirror & (torch.rand(count) < 0.5), -1.0, 1.0)
    room = (1 - scale).abs() + torch.where(is_cut_out, 0.12, 0.0)
    shift = (torch.rand(count, 2) * 2 - 1) * room[:, None]
    warp = torch.stack(
        [
            torch.stack([scale * stretch * mirror * angle.cos(), -scale * angle.sin(), shift[:, 0]], 1),
            torch.stack([scale * mirror * angle.sin(), scale / stretch * angle.cos(), shift[:, 1]], 1),
        ],
        dim=1,
    )
    grid = F.affine_grid(warp, [count, 4, IMAGE_SIDE_PX, IMAGE_SIDE_PX], align_corners=False)
    source = pixels.float()
    cut_out = F.grid_sample(source, grid, padding_mode="zeros", align_corners=False)
    opaque = F.grid_sample(source, grid, padding_mode="reflection", align_corners=False)
    warped = torch.where(is_cut_out[:, None, None, None], cut_out, opaque)
    alpha = warped[:, 3:] / 255
    return vary_light(warped[:, :3] * alpha + _backdrops(count) * (1 - alpha))


def _backdrops(count: int) -> torch.Tensor:
    """White for half, else a colour that runs into another one."""
    top, bottom = torch.rand(2, count, 3, 1, 1) * 255
    run = torch.linspace(0, 1, IMAGE_SIDE_PX)[None, None, :, None]
    coloured = (top * (1 - run) + bottom * run).expand(count, 3, IMAGE_SIDE_PX, IMAGE_SIDE_PX)
    return torch.where(torch.rand(count, 1, 1, 1) < 0.5, torch.tensor(255.0), coloured)


def vary_light(pictures: torch.Tensor) -> torch.Tensor:
    """Random brightness, contrast, saturation and grain, mild enough to leave colour names true; [0, 255]."""
    count = len(pictures)
    brightness, contrast, saturation = (1 + 0.28 * (torch.rand(3, count, 1, 1, 1) - 0.5)).unbind(0)
    grey = pictures.mean(1, keepdim=True)
    varied = (grey + (pictures - grey) * saturation) * brightness
    level = varied.mean((1, 2, 3), keepdim=True)
    varied = (varied - level) * contrast + level
    grain = torch.rand(count, 1, 1, 1) * 8 * (torch.rand(count, 1, 1, 1) < 0.3)
    return (varied + grain * torch.randn_like(varied)).clamp(0, 255)


def augment_drawn(pixels: torch.Tensor) -> torch.Tensor:
    """Small shifts, zooms and light changes that keep sides, counts and relations true; (B, 3, 96, 96) in [0, 255]."""
    count = len(pixels)
    scale = 0.94 + 0.12 * torch.rand(count)
    shift = (torch.rand(count, 2) - 0.5) * 0.10
    zero = torch.zeros(count)
    warp = torch.stack([torch.stack([scale, zero, shift[:, 0]], 1), torch.stack([zero, scale, shift[:, 1]], 1)], dim=1)
    grid = F.affine_grid(warp, [count, 3, IMAGE_SIDE_PX, IMAGE_SIDE_PX], align_corners=False)
    return vary_light(F.grid_sample(pixels.float(), grid, padding_mode="border", align_corners=False))


def augment_view(pixels: torch.Tensor) -> torch.Tensor:
    """Mirror, small zooms and shifts, light: what leaves a teacher's word on (B, 3, 112, 112) true; (B, 3, 96, 96)."""
    count = len(pixels)
    scale = 0.85 + 0.15 * torch.rand(count)
    mirror = torch.where(torch.rand(count) < 0.5, -1.0, 1.0)
    shift = (torch.rand(count, 2) * 2 - 1) * (1 - scale)[:, None]
    zero = torch.zeros(count)
    warp = torch.stack(
        [torch.stack([scale * mirror, zero, shift[:, 0]], 1), torch.stack([zero, scale, shift[:, 1]], 1)], dim=1
    )
    grid = F.affine_grid(warp, [count, 3, IMAGE_SIDE_PX, IMAGE_SIDE_PX], align_corners=False)
    return vary_light(F.grid_sample(pixels.float(), grid, padding_mode="border", align_corners=False))
