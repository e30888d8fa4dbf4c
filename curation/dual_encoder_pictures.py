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
HANDED = re.compile(r"left|right|arrow|clock|button|flag|\d")
COLOURED = re.compile(
    r"red|orange|yellow|green|blue|purple|brown|black|white|pink|gold|silver|gr[ea]y|dark|light|skin|colou?r|rainbow|"
    r"blond|globe|flag|heart|circle|square|diamond"
)


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
    `concepts` are the rows of each emoji concept, one or two of them: the art styles it is there in. `may_mirror` and
    `may_recolour` (N,) leave out what is named by a side, and by a colour.
    """

    pixels: torch.Tensor
    sources: tuple[str, ...]
    may_mirror: torch.Tensor
    may_recolour: torch.Tensor
    banks: dict[str, torch.Tensor]
    wanted: dict[str, torch.Tensor]
    concepts: tuple[tuple[int, ...], ...]


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
        may_mirror=named_without(HANDED, pairs),
        may_recolour=named_without(COLOURED, pairs),
        banks=banks,
        wanted=wanted,
        concepts=_concepts(pairs),
    )


def named_without(words: re.Pattern[str], pairs: Sequence[Pair]) -> torch.Tensor:
    """(N,) bool: no English caption of the pair has any of these words."""
    return torch.tensor([not words.search(" ".join(pair.captions_en).lower()) for pair in pairs])


def _concepts(pairs: Sequence[Pair]) -> tuple[tuple[int, ...], ...]:
    rows: dict[str, list[int]] = {}
    for row, pair in enumerate(pairs):
        if pair.source.startswith("emoji"):
            rows.setdefault(pair.concept, []).append(row)
    return tuple(tuple(each) for each in rows.values())


def caption_centres(model: nn.Module, tokenizer: Tokenizer, pairs: Sequence[Pair]) -> torch.Tensor:
    """The normalised mean of each pair's English caption embeddings, (N, 256)."""
    names = sorted({text for pair in pairs for text in pair.captions_en})
    position = {name: index for index, name in enumerate(names)}
    bank = encode_texts(model, tokenizer, names)
    means = [bank[[position[text] for text in pair.captions_en]].mean(0) for pair in pairs]
    return F.normalize(torch.stack(means), dim=-1)
