"""Drawn scenes: things with a colour, a count, a size and a place before a background, in two drawing styles.

A `Scene` is a value that says what a picture shows; `draw` makes the picture from it. The same scene, size and seed
give the same pixels.
"""

import json
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from PIL import Image

from curation.sample.scene_painting import (
    PlacedThing,
    add_grain,
    paint_background,
    paint_edges,
    paint_flat,
    paint_shaded,
)
from curation.sample.scene_shapes import SHAPES, Rgb

Style = Literal["flat", "shaded"]
Size = Literal["small", "medium", "large"]
Relation = Literal["left_of", "right_of", "above", "below"]
Side = Literal["left", "right"]

KINDS: tuple[str, ...] = tuple(SHAPES)
COLOURS: dict[str, Rgb] = {
    "red": (222, 42, 46),
    "orange": (250, 138, 28),
    "yellow": (250, 214, 44),
    "green": (54, 166, 72),
    "blue": (42, 100, 226),
    "purple": (138, 70, 190),
    "pink": (250, 138, 186),
    "black": (38, 38, 44),
}
BACKGROUNDS: tuple[str, ...] = ("white", "sky", "meadow", "beach", "night", "sunset", "snow", "wood")
RELATIONS: tuple[Relation, ...] = ("left_of", "right_of", "above", "below")
STYLES: tuple[Style, ...] = ("flat", "shaded")
SIZES: tuple[Size, ...] = ("small", "medium", "large")
CONVERSE: dict[Relation, Relation] = {
    "left_of": "right_of",
    "right_of": "left_of",
    "above": "below",
    "below": "above",
}

HIDDEN_BY: dict[str, str] = {"sky": "blue", "meadow": "green", "beach": "yellow", "night": "black", "sunset": "orange"}
"""Background -> the colour that would be hard to see on it, which no random scene uses there."""

_RADIUS: dict[Size, float] = {"small": 0.16, "medium": 0.27, "large": 0.40}


@dataclass(frozen=True)
class Thing:
    """`count` equal things of one kind and colour."""

    kind: str
    colour: str
    count: int = 1
    size: Size = "medium"


@dataclass(frozen=True)
class Scene:
    """What one picture shows.

    One group of things, alone or on one `side`; or two single things, the first standing in `relation` to the second.
    """

    background: str
    style: Style
    things: tuple[Thing, ...]
    relation: Relation | None = None
    side: Side | None = None

    def __post_init__(self) -> None:
        """Refuse a scene that cannot be drawn or told: ValueError names the field, the value and what is accepted."""
        _require("background", self.background, BACKGROUNDS)
        _require("style", self.style, STYLES)
        if len(self.things) not in (1, 2):
            raise ValueError(f"things: {len(self.things)} given, accepted 1 or 2")
        for thing in self.things:
            _require("kind", thing.kind, KINDS)
            _require("colour", thing.colour, tuple(COLOURS))
            _require("count", thing.count, (1, 2, 3))
            _require("size", thing.size, SIZES)
        _require("relation", self.relation, RELATIONS if len(self.things) == 2 else (None,))
        _require("side", self.side, (None, "left", "right"))

    def to_json(self) -> str:
        """The scene as one line of JSON, keys in a fixed order."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> "Scene":
        """The scene that `to_json` wrote."""
        fields: dict[str, Any] = json.loads(text)
        fields["things"] = tuple(Thing(**thing) for thing in fields["things"])
        return cls(**fields)


def _require(field: str, value: object, accepted: tuple[object, ...]) -> None:
    if value not in accepted:
        raise ValueError(f"{field}: {value!r} given, accepted one of {list(accepted)}")


def random_scene(
    rng: np.random.Generator, *, aspect: float = 1.0, style: Style | None = None, form: str | None = None
) -> Scene:
    """A scene that can be seen well at `aspect` (width / height).

    `form` is 'single', 'group' (two or three equal things) or 'pair' (two things in a relation); drawn when None.
    """
    form = form or str(rng.choice(["single", "group", "pair"], p=[0.36, 0.22, 0.42]))
    background = str(rng.choice(BACKGROUNDS))
    style = style or STYLES[int(rng.integers(2))]
    colours = [colour for colour in COLOURS if colour != HIDDEN_BY.get(background)]
    if form == "pair":
        kinds = rng.choice(KINDS, size=2, replace=bool(rng.random() < 0.15))
        first, second = rng.choice(colours, size=2, replace=False)
        allowed = _relations_at(aspect)
        relation = allowed[int(rng.integers(len(allowed)))]
        things = (Thing(str(kinds[0]), str(first)), Thing(str(kinds[1]), str(second)))
        return Scene(background, style, things, relation=relation)
    kind, colour = str(rng.choice(KINDS)), str(rng.choice(colours))
    if form == "group":
        return Scene(background, style, (Thing(kind, colour, count=int(rng.integers(2, 4))),))
    if aspect > 0.6 and rng.random() < 0.5:
        side: Side = "left" if rng.random() < 0.5 else "right"
        return Scene(background, style, (Thing(kind, colour),), side=side)
    size = SIZES[int(rng.choice(3, p=[0.25, 0.4, 0.35]))]
    return Scene(background, style, (Thing(kind, colour, size=size),))


def _relations_at(aspect: float) -> tuple[Relation, ...]:
    if aspect > 1.8:
        return ("left_of", "right_of")
    if aspect < 1 / 1.8:
        return ("above", "below")
    return RELATIONS


def _group_places(count: int, width: int, height: int, rng: np.random.Generator) -> list[tuple[float, float, float]]:
    """(x, y, radius px) of equal things: a row, a column in tall pictures, at times a triangle of three."""
    if count == 3 and 0.6 < width / height < 1.7 and rng.random() < 0.5:
        radius = 0.185 * min(width, height)
        return [(0.5, 0.27, radius), (0.27, 0.71, radius), (0.73, 0.71, radius)]
    along = [(index + 0.5) / count for index in range(count)]
    if width >= 0.8 * height:
        radius = min(0.40 * width / count, 0.30 * height)
        return [(0.5 + (x - 0.5) * 0.94, 0.5, radius) for x in along]
    radius = min(0.40 * height / count, 0.30 * width)
    return [(0.5, 0.5 + (y - 0.5) * 0.94, radius) for y in along]


def _places(scene: Scene, width: int, height: int, rng: np.random.Generator) -> list[tuple[float, float, float]]:
    """(x, y, radius px) of every thing, before the small random shifts."""
    shorter = min(width, height)
    if scene.relation is not None:
        near, far = 0.27, 0.73
        if scene.relation in ("left_of", "right_of"):
            radius = min(0.215 * width, 0.36 * height)
            across = [(near, 0.5, radius), (far, 0.5, radius)]
            return across if scene.relation == "left_of" else across[::-1]
        radius = min(0.215 * height, 0.36 * width)
        upright = [(0.5, near, radius), (0.5, far, radius)]
        return upright if scene.relation == "above" else upright[::-1]
    thing = scene.things[0]
    if thing.count > 1:
        return _group_places(thing.count, width, height, rng)
    radius = _RADIUS[thing.size] * shorter
    if scene.side is not None:
        return [(0.25 if scene.side == "left" else 0.75, 0.53, min(radius, 0.23 * width))]
    return [(0.5, 0.53, radius)]


def _jittered(rgb: Rgb, rng: np.random.Generator) -> Rgb:
    red, green, blue = (int(np.clip(value + rng.normal(0, 6), 0, 255)) for value in rgb)
    return red, green, blue


def draw(scene: Scene, size: tuple[int, int] = (256, 256), seed: int = 0) -> Image.Image:
    """The picture of `scene`: RGB, `size` is (width, height) in px; equal arguments give equal pixels."""
    rng = np.random.default_rng(seed)
    scale = 3 if scene.style == "flat" and max(size) <= 160 else 2
    canvas = paint_background(scene.background, (size[0] * scale, size[1] * scale), rng)
    placed = _place_things(scene, canvas.size, rng)
    if scene.style == "flat":
        return paint_flat(canvas, placed).resize(size, Image.Resampling.BOX)
    painted = paint_shaded(canvas, placed, rng, is_plain=scene.background == "white")
    return add_grain(painted.resize(size, Image.Resampling.BOX), rng)


def draw_edges(scene: Scene, size: tuple[int, int] = (256, 256), seed: int = 0) -> Image.Image:
    """The outlines of the things in `draw`'s picture of equal arguments, white on black: neither colours nor background."""
    rng = np.random.default_rng(seed)
    scale = 3 if scene.style == "flat" and max(size) <= 160 else 2
    canvas = paint_background(scene.background, (size[0] * scale, size[1] * scale), rng)
    placed = _place_things(scene, canvas.size, rng)
    return paint_edges(canvas.size, placed).resize(size, Image.Resampling.BOX)


def _place_things(scene: Scene, canvas: tuple[int, int], rng: np.random.Generator) -> list[PlacedThing]:
    """Every thing of the scene on a canvas of (width, height) px, with small shifts of place, size, turn and colour."""
    width, height = canvas
    each = [thing for thing in scene.things for _ in range(thing.count)]
    rgb = [_jittered(COLOURS[thing.colour], rng) for thing in scene.things for _ in range(thing.count)]
    placed = []
    for thing, colour, (x, y, radius) in zip(each, rgb, _places(scene, width, height, rng), strict=True):
        shift_x, shift_y = rng.uniform(-0.12, 0.12, 2) * radius
        radius *= float(rng.uniform(0.9, 1.04))
        room = 1.16 * radius  # the turned corners and the ink line reach a little beyond the radius
        placed.append(
            PlacedThing(
                kind=thing.kind,
                rgb=colour,
                x=float(np.clip(x * width + shift_x, room, width - room)) / width,
                y=float(np.clip(y * height + shift_y, room, height - room)) / height,
                radius_px=radius,
                turn_degrees=float(rng.uniform(-8, 8)),
            )
        )
    return placed
