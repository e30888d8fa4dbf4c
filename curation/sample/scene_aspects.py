"""What a model that knows one thing is told of a drawn scene: its layout or its colours in words, its edges or palette.

Nothing in one aspect gives another away: the layout names no colour and no background, the colours name no kind and no
place, the edges show no colour, the palette is too coarse to show a shape.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from curation.sample.scene_captions import (
    BACKGROUNDS_EN,
    BACKGROUNDS_ZH,
    COLOURS_ZH,
    KINDS_ZH,
    NUMBERS_EN,
    NUMBERS_ZH,
    PLURALS,
    Language,
)
from curation.sample.scenes import Scene, Thing

PALETTE_CELLS = 4
UInt8Image = NDArray[np.uint8]


def layout_caption(scene: Scene, language: Language) -> str:
    """Kind, count, size and side of a scene of one thing or group, as in `a small ball` or `画面左侧的球`.

    Raises:
        ValueError: the scene is a pair.
    """
    thing = _only_thing(scene)
    if language == "en":
        words = thing.kind if thing.count == 1 else f"{NUMBERS_EN[thing.count]} {PLURALS[thing.kind]}"
        words = words if thing.size == "medium" else f"{thing.size} {words}"
        said = words if thing.count > 1 else f"a {words}"
        return said if scene.side is None else f"{said} on the {scene.side} side of the picture"
    measure, name = KINDS_ZH[thing.kind]
    size = {"small": "小小的", "medium": "", "large": "大大的"}[thing.size]
    said = f"{NUMBERS_ZH[thing.count]}{measure}{size}{name}"
    return said if scene.side is None else f"{said}在画面{ {'left': '左侧', 'right': '右侧'}[scene.side] }"


def colour_caption(scene: Scene, language: Language, rng: np.random.Generator) -> str:
    """Colour and background of a scene of one thing or group, as in `something red on a sandy beach`.

    Raises:
        ValueError: the scene is a pair.
    """
    thing = _only_thing(scene)
    places = BACKGROUNDS_EN[scene.background] if language == "en" else BACKGROUNDS_ZH[scene.background]
    place = places[int(rng.integers(len(places)))]
    if language == "en":
        return f"something {thing.colour} {place}"
    return f"{COLOURS_ZH[thing.colour]}的东西，{place}"


def palette(image: UInt8Image, cells: int = PALETTE_CELLS) -> UInt8Image:
    """(H, W, 3) uint8 as cells x cells flat patches of the mean colour, at its own size."""
    picture = Image.fromarray(image)
    small = picture.resize((cells, cells), Image.Resampling.BOX)
    return np.asarray(small.resize(picture.size, Image.Resampling.NEAREST), np.uint8)


def _only_thing(scene: Scene) -> Thing:
    if len(scene.things) != 1:
        raise ValueError(f"things: got {len(scene.things)}, expected a scene of one thing or group")
    return scene.things[0]
