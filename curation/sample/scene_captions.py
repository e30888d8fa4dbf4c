"""What a drawn scene is called in English and Chinese, the near misses that a scorer must tell apart, and prompts.

Every caption names the kind, colour, count, place and background of its scene, so it can be checked by rule.
"""

import hashlib
import json
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from curation.sample.scenes import (
    BACKGROUNDS,
    COLOURS,
    CONVERSE,
    HIDDEN_BY,
    KINDS,
    Scene,
    Thing,
    random_scene,
)

Language = Literal["en", "zh"]

PLURALS: dict[str, str] = {kind: kind + "s" for kind in KINDS} | {"box": "boxes", "fish": "fish"}
NUMBERS_EN: dict[int, str] = {1: "one", 2: "two", 3: "three"}
NUMBERS_ZH: dict[int, str] = {1: "一", 2: "两", 3: "三"}
COLOURS_ZH: dict[str, str] = {
    "red": "红色",
    "orange": "橙色",
    "yellow": "黄色",
    "green": "绿色",
    "blue": "蓝色",
    "purple": "紫色",
    "pink": "粉色",
    "black": "黑色",
}
KINDS_ZH: dict[str, tuple[str, str]] = {
    "ball": ("个", "球"),
    "box": ("个", "盒子"),
    "star": ("颗", "星星"),
    "heart": ("颗", "爱心"),
    "tree": ("棵", "树"),
    "house": ("座", "房子"),
    "fish": ("条", "鱼"),
    "car": ("辆", "汽车"),
}
"""Kind -> its measure word and its name."""

BACKGROUNDS_EN: dict[str, tuple[str, ...]] = {
    "white": ("on a white background", "on a plain white background"),
    "sky": ("in a blue sky", "in a blue sky with clouds"),
    "meadow": ("on a green meadow", "on a meadow of green hills"),
    "beach": ("on a sandy beach", "on a beach by the sea"),
    "night": ("under a night sky", "at night under the moon"),
    "sunset": ("at sunset", "at sunset with a low sun"),
    "snow": ("in the snow", "on a snowy field"),
    "wood": ("on a wooden table", "on brown wooden boards"),
}
BACKGROUNDS_ZH: dict[str, tuple[str, ...]] = {
    "white": ("白色背景", "纯白色背景"),
    "sky": ("蓝天背景", "蓝天白云背景"),
    "meadow": ("绿草地背景", "绿色山坡草地背景"),
    "beach": ("沙滩背景", "海边沙滩背景"),
    "night": ("夜空背景", "月光下的夜空背景"),
    "sunset": ("日落背景", "夕阳日落背景"),
    "snow": ("雪地背景", "白雪雪地背景"),
    "wood": ("木桌背景", "棕色木桌背景"),
}
_RELATIONS_EN = {"left_of": "to the left of", "right_of": "to the right of", "above": "above", "below": "below"}
_RELATIONS_ZH = {"left_of": "左边", "right_of": "右边", "above": "上面", "below": "下面"}


def _article(word: str) -> str:
    return "an" if word[0] in "aeiou" else "a"


def _thing_en(thing: Thing) -> str:
    if thing.count > 1:
        return f"{NUMBERS_EN[thing.count]} {thing.colour} {PLURALS[thing.kind]}"
    size = "" if thing.size == "medium" else thing.size + " "
    words = f"{size}{thing.colour} {thing.kind}"
    return f"{_article(words)} {words}"


def _thing_zh(thing: Thing) -> str:
    measure, name = KINDS_ZH[thing.kind]
    size = {"small": "小小的", "medium": "", "large": "大大的"}[thing.size] if thing.count == 1 else ""
    return f"{NUMBERS_ZH[thing.count]}{measure}{size}{COLOURS_ZH[thing.colour]}的{name}"


def _pick(choices: tuple[str, ...], rng: np.random.Generator) -> str:
    return choices[int(rng.integers(len(choices)))]


def _said_from_either_end(scene: Scene, rng: np.random.Generator) -> Scene:
    """The same picture told from its other thing, half of the time."""
    if scene.relation is None or rng.random() < 0.5:
        return scene
    return replace(scene, things=scene.things[::-1], relation=CONVERSE[scene.relation])


def caption_en(scene: Scene, rng: np.random.Generator) -> str:
    """One English caption of the scene; the template and the wording are drawn from `rng`."""
    place = _pick(BACKGROUNDS_EN[scene.background], rng)
    scene = _said_from_either_end(scene, rng)
    first = _thing_en(scene.things[0])
    if scene.relation is not None:
        relation, second = _RELATIONS_EN[scene.relation], _thing_en(scene.things[1])
        return _pick((f"{first} {relation} {second} {place}", f"{first} is {relation} {second}, {place}"), rng)
    if scene.side is not None:
        side = f"on the {scene.side} side"
        return _pick((f"{first} {side} of the picture, {place}", f"{side} of the picture, {first} {place}"), rng)
    return _pick(
        (f"{first} {place}", f"there {_is_or_are(scene)} {first} {place}", f"a picture of {first} {place}"), rng
    )


def _is_or_are(scene: Scene) -> str:
    return "are" if scene.things[0].count > 1 else "is"


def caption_zh(scene: Scene, rng: np.random.Generator) -> str:
    """One Chinese caption of the scene; the template and the wording are drawn from `rng`."""
    place = _pick(BACKGROUNDS_ZH[scene.background], rng)
    scene = _said_from_either_end(scene, rng)
    first = _thing_zh(scene.things[0])
    if scene.relation is not None:
        relation, second = _RELATIONS_ZH[scene.relation], _thing_zh(scene.things[1])
        return _pick((f"{first}在{second}的{relation}，{place}", f"{place}，{second}的{relation}是{first}"), rng)
    if scene.side is not None:
        side = {"left": "左侧", "right": "右侧"}[scene.side]
        return _pick((f"{first}在画面{side}，{place}", f"{place}，画面{side}有{first}"), rng)
    return _pick((f"{first}，{place}", f"{place}上有{first}", f"画面里有{first}，{place}"), rng)


def caption(scene: Scene, language: Language, rng: np.random.Generator) -> str:
    """One caption in 'en' or 'zh'."""
    return caption_en(scene, rng) if language == "en" else caption_zh(scene, rng)


def near_misses(scene: Scene, rng: np.random.Generator) -> dict[str, Scene]:
    """Scenes that differ from this one in a single respect: name of the respect -> the scene that is **not** shown.

    Respects: colour, shape, background always; count for groups and plain singles; side; binding and relation in pairs.
    """
    index = int(rng.integers(len(scene.things)))
    thing = scene.things[index]
    shown_colours = {each.colour for each in scene.things} | {HIDDEN_BY.get(scene.background, "")}
    other_colour = _pick(tuple(colour for colour in COLOURS if colour not in shown_colours), rng)
    other_kind = _pick(tuple(kind for kind in KINDS if kind not in {each.kind for each in scene.things}), rng)
    other_places = tuple(
        name for name in BACKGROUNDS if name != scene.background and HIDDEN_BY.get(name) not in shown_colours
    )
    changed = {
        "colour": _with_thing(scene, index, replace(thing, colour=other_colour)),
        "shape": _with_thing(scene, index, replace(thing, kind=other_kind)),
        "background": replace(scene, background=_pick(other_places, rng)),
    }
    if len(scene.things) == 2 and scene.relation is not None:
        first, second = scene.things
        if first.kind != second.kind:
            swapped = (replace(first, colour=second.colour), replace(second, colour=first.colour))
            changed["binding"] = replace(scene, things=swapped)
        changed["relation"] = replace(scene, relation=CONVERSE[scene.relation])
    elif scene.side is not None:
        changed["side"] = replace(scene, side="right" if scene.side == "left" else "left")
    elif thing.count > 1 or thing.size == "medium":
        counts = [count for count in (1, 2, 3) if count != thing.count]
        changed["count"] = _with_thing(scene, 0, replace(thing, count=counts[int(rng.integers(len(counts)))]))
    return changed


def _with_thing(scene: Scene, index: int, thing: Thing) -> Scene:
    things = tuple(thing if at == index else other for at, other in enumerate(scene.things))
    return replace(scene, things=things)


def is_held_out(scene: Scene) -> bool:
    """Whether this combination of things is kept for evaluation: one kind-and-colour combination in eight.

    Decided by a hash of the kinds and colours in a fixed order, so that no training code has to carry a list.
    """
    names = sorted(f"{thing.colour} {thing.kind}" for thing in scene.things)
    return hashlib.sha256("|".join(names).encode()).digest()[0] < 32


@dataclass(frozen=True)
class Prompt:
    """A row of the prompts artifact; `attributes` is the scene's JSON."""

    prompt_id: str
    prompt: str
    language: Language
    bucket: int | None
    style: str | None
    attributes: str


def sample_prompts(num_prompts: int, *, seed: int = 0, aspects: tuple[float, ...] = (1.0,)) -> list[Prompt]:
    """`num_prompts` evaluation prompts of held-out combinations, English and Chinese in turn.

    `aspects` are the width / height of the buckets by index; with one entry all prompts have bucket None.
    """
    rng = np.random.default_rng(seed)
    prompts: list[Prompt] = []
    while len(prompts) < num_prompts:
        number = len(prompts)
        bucket = int(rng.integers(len(aspects)))
        scene = random_scene(rng, aspect=aspects[bucket], style="flat" if number // 2 % 2 == 0 else "shaded")
        if not is_held_out(scene):
            continue
        language: Language = "en" if number % 2 == 0 else "zh"
        prompts.append(
            Prompt(
                prompt_id=f"scene-{seed}-{number:05d}",
                prompt=caption(scene, language, rng),
                language=language,
                bucket=bucket if len(aspects) > 1 else None,
                style="cartoon" if scene.style == "flat" else "aesthetic",
                attributes=json.dumps(json.loads(scene.to_json()), ensure_ascii=False),
            )
        )
    return prompts
