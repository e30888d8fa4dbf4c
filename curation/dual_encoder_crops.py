"""Pictures for a teacher to speak about: many windows of few photographs, jittered, mixed with one another, filtered.

A student of few photographs learns more from many distinct views than from more words about each; the views must only
look different, since the teacher is asked about exactly what the student sees ("patient and consistent", arXiv 2106.05237).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from curation.dual_encoder_data import Pair

SIDE_PX = 224
LOWEST_SHARE: dict[str, float] = {"photos_coco": 0.08, "photos_clothing": 0.3}


@dataclass(frozen=True)
class View:
    """One picture of 224 x 224 px; the source it is from; the pairs it shows, -1 for none."""

    image: Image.Image
    source: str
    owner: int = -1
    other: int = -1


def crops(pair: Pair, owner: int, count: int, rng: np.random.Generator) -> Iterator[View]:
    """Windows of a photograph, from a small share of its area to all of it, a third turned, half with other colours.

    The first is the whole photograph as it is.
    """
    with Image.open(pair.path) as opened:
        image = ImageOps.exif_transpose(opened).convert("RGB")
    yield View(_small(image), pair.source, owner)
    for _ in range(count - 1):
        window = _small(image.crop(_window(image.size, LOWEST_SHARE[pair.source], rng)))
        if rng.random() < 0.33:
            window = _turned(window, float(rng.normal(0, 12)))
        yield View(jitter(window, rng) if rng.random() < 0.5 else window, pair.source, owner)


def _window(size: tuple[int, int], lowest: float, rng: np.random.Generator) -> tuple[int, int, int, int]:
    """A box of `lowest` of the area and more, of a side ratio between 2:3 and 3:2 of the photograph's own."""
    share, aspect = np.sqrt(rng.uniform(lowest, 1.0)), np.exp(rng.uniform(-0.4, 0.4))
    width = min(size[0], max(8, round(size[0] * share * aspect**0.5)))
    height = min(size[1], max(8, round(size[1] * share / aspect**0.5)))
    left, top = rng.integers(0, size[0] - width + 1), rng.integers(0, size[1] - height + 1)
    return int(left), int(top), int(left) + width, int(top) + height


def _small(image: Image.Image) -> Image.Image:
    return image.resize((SIDE_PX, SIDE_PX), Image.Resampling.BICUBIC)


def _turned(image: Image.Image, degrees: float) -> Image.Image:
    """Turned, and cut so far in that no corner is empty."""
    turn = np.deg2rad(abs(degrees))
    margin = round(SIDE_PX * (1 - 1 / (np.cos(turn) + np.sin(turn))) / 2)
    turned = image.rotate(degrees, Image.Resampling.BILINEAR)
    return _small(turned.crop((margin, margin, SIDE_PX - margin, SIDE_PX - margin)))


def jitter(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Other light, contrast, saturation and hue; one in ten grey."""
    if rng.random() < 0.1:
        return image.convert("L").convert("RGB")
    for enhance in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        image = enhance(image).enhance(float(rng.uniform(0.55, 1.45)))
    hue, saturation, value = image.convert("HSV").split()
    shift = int(rng.integers(-24, 25))
    hue = hue.point([(level + shift) % 256 for level in range(256)])
    return Image.merge("HSV", (hue, saturation, value)).convert("RGB")


def mixed(one: View, two: View, rng: np.random.Generator) -> View:
    """Two pictures in one: a rectangle of the second in the first (arXiv 1905.04899), or both shining through."""
    if rng.random() < 0.5:
        image = Image.blend(one.image, two.image, float(rng.uniform(0.25, 0.75)))
    else:
        width, height = (int(side) for side in rng.integers(SIDE_PX // 4, 3 * SIDE_PX // 4, 2))
        left, top = int(rng.integers(0, SIDE_PX - width)), int(rng.integers(0, SIDE_PX - height))
        image = one.image.copy()
        image.paste(two.image.resize((width, height), Image.Resampling.BICUBIC), (left, top))
    return View(image, "mixed", one.owner, two.owner)


def on_backdrop(pair: Pair, owner: int, rng: np.random.Generator) -> View:
    """A cut-out on white or on a random colour."""
    colour = (255, 255, 255) if rng.random() < 0.5 else tuple(int(v) for v in rng.integers(0, 256, 3))
    cut_out = _cut_out(pair, SIDE_PX)
    backdrop = Image.new("RGB", cut_out.size, colour)
    backdrop.paste(cut_out, mask=cut_out)
    return View(backdrop, pair.source, owner)


def pasted(pair: Pair, owner: int, photograph: View, rng: np.random.Generator) -> View:
    """A cut-out somewhere on a photograph: neither cartoon nor photograph."""
    cut_out = _cut_out(pair, int(rng.integers(SIDE_PX // 2, SIDE_PX)))
    left, top = (int(at) for at in rng.integers(0, SIDE_PX - cut_out.width + 1, 2))
    image = photograph.image.copy()
    image.paste(cut_out, (left, top), cut_out)
    return View(image, "pasted", owner, photograph.owner)


def _cut_out(pair: Pair, side_px: int) -> Image.Image:
    with Image.open(pair.path) as opened:
        return opened.convert("RGBA").resize((side_px, side_px), Image.Resampling.BICUBIC)


def pick(views: Sequence[View], count: int, rng: np.random.Generator) -> list[View]:
    """`count` of the views, with repetition."""
    return [views[at] for at in rng.integers(0, len(views), count)]
