"""Pairs and texts for fitting the dual encoder, and what is kept back from it for evaluation.

The pairs folder holds `pairs.jsonl` (path, kind, captions_en, captions_zh) and `images/`; the prompts folder holds
`coco_val2017_captions.jsonl`, `coco2014_5k_captions.tsv`, `coco_zh_en_pairs.jsonl` and `PartiPrompts.tsv`.
"""

import csv
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from curation.dual_encoder import IMAGE_SIDE_PX
from curation.sample.photographs import PHOTOGRAPHS

Part = Literal["train", "held_out", "held_out_style", "held_out_concept"]

CLOTHING_ZH: dict[str, str] = {
    "dress": "连衣裙",
    "hat": "帽子",
    "longsleeve": "长袖衫",
    "outwear": "外套",
    "pants": "裤子",
    "shirt": "衬衫",
    "shoes": "鞋子",
    "shorts": "短裤",
    "skirt": "半身裙",
    "t-shirt": "T恤",
}
CLOTHING_EN: dict[str, str] = {name: f"a {name}" for name in CLOTHING_ZH} | {
    "longsleeve": "a long sleeve top",
    "outwear": "an outdoor jacket",
    "pants": "a pair of pants",
    "shoes": "a pair of shoes",
    "shorts": "a pair of shorts",
}


def clothing_prompts() -> dict[str, list[str]]:
    """The ten classes by `concept`, and the prompt of each by language: what accuracy is measured among."""
    return {
        "concept": list(CLOTHING_EN),
        "en": [f"a photo of {told}" for told in CLOTHING_EN.values()],
        "zh": [f"一张{CLOTHING_ZH[name]}的照片" for name in CLOTHING_EN],
    }


@dataclass(frozen=True)
class Pair:
    """One picture with its captions, the source it is from, the concept it shows and the part it belongs to."""

    path: Path
    source: str
    concept: str
    captions_en: tuple[str, ...]
    captions_zh: tuple[str, ...]
    part: Part


def share_of(text: str) -> float:
    """A number in [0, 1) that depends on the text alone: splits stay the same whatever the order."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big") / 2**48


def read_pairs(folder: Path, held_out_photos: frozenset[str]) -> list[Pair]:
    """All pairs of the folder with their split.

    Emoji: 10 % of the concepts are held out in both art styles, 15 % more in one of the two. Clothing: 20 % of the
    photos. COCO: the photos named in `held_out_photos`.
    """
    pairs = []
    with (folder / "pairs.jsonl").open(encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            path = folder / "images" / row["path"]
            pair = Pair(
                path=path,
                source=path.relative_to(folder / "images").parts[0],
                concept=path.stem,
                captions_en=tuple(row["captions_en"]),
                captions_zh=tuple(row["captions_zh"]),
                part="train",
            )
            pairs.append(_with_part(pair, held_out_photos))
    return pairs


def _with_part(pair: Pair, held_out_photos: frozenset[str]) -> Pair:
    if pair.source == "photos_clothing":
        name = pair.path.parent.name
        part: Part = "held_out" if share_of(pair.path.name) < 0.2 else "train"
        english, chinese = CLOTHING_EN[name], CLOTHING_ZH[name]
        return replace(
            pair,
            concept=name,
            part=part,
            captions_en=(f"a photo of {english}", english, f"{english} on its own"),
            captions_zh=(f"一张{chinese}的照片", chinese, f"一件{chinese}"),
        )
    if pair.source == "photos_coco":
        return replace(pair, part="held_out" if pair.path.name in held_out_photos else "train")
    share = share_of(pair.concept)
    if share < 0.10:
        return replace(pair, part="held_out_concept")
    hidden_style = "emoji_noto" if share < 0.175 else "emoji_fluent3d" if share < 0.25 else ""
    return replace(pair, part="held_out_style" if pair.source == hidden_style else "train")


@dataclass(frozen=True)
class TaughtText:
    """A text to encode, and the English text whose teacher embedding it should have."""

    text: str
    english: str


def read_texts(pairs: Sequence[Pair], prompts: Path, *, seed: int, num_captions: int = 12000) -> list[TaughtText]:
    """Natural texts for the text tower; captions of photos that are held out are left out.

    Chinese comes from emoji names, clothing names and translated pairs, each with the teacher's word on its English.
    """
    held_out = {pair.concept.lstrip("0") for pair in pairs if pair.source == "photos_coco" and pair.part != "train"}
    english: list[str] = []
    with (prompts / "coco_val2017_captions.jsonl").open(encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            if str(row["image_id"]) not in held_out:
                english.extend(caption.strip() for caption in row["captions"])
    rng = np.random.default_rng(seed)
    english = [english[index] for index in rng.permutation(len(english))[:num_captions]]
    with (prompts / "PartiPrompts.tsv").open(encoding="utf-8") as lines:
        english.extend(row["Prompt"] for row in csv.DictReader(lines, delimiter="\t"))
    taught = [TaughtText(text, text) for text in english]
    with (prompts / "coco_zh_en_pairs.jsonl").open(encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            if str(row["image_id"]) not in held_out:
                taught.append(TaughtText(row["zh"], row["en"]))
    for pair in pairs:
        if pair.source == "photos_coco" and pair.part != "train":
            continue
        taught.extend(TaughtText(text, text) for text in pair.captions_en)
        if len(pair.captions_en) == len(pair.captions_zh):
            taught.extend(TaughtText(*both) for both in zip(pair.captions_zh, pair.captions_en, strict=True))
    for photograph in PHOTOGRAPHS:
        taught.extend(TaughtText(text, text) for text in photograph.captions_en)
        taught.extend(TaughtText(*both) for both in zip(photograph.captions_zh, photograph.captions_en, strict=True))
    return list(dict.fromkeys(taught))


def read_picture(path: Path, side_px: int = IMAGE_SIDE_PX + 16) -> NDArray[np.uint8]:
    """A picture squashed to a square, RGBA uint8 (side, side, 4); opaque pictures have alpha 255."""
    with Image.open(path) as image:
        upright = ImageOps.exif_transpose(image).convert("RGBA")
    return np.asarray(upright.resize((side_px, side_px), Image.Resampling.BICUBIC), dtype=np.uint8)
