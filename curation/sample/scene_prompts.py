"""Short prompts of the drawn world, and enrichments of them: what the sample's prompt enhancer learns from.

The enrichments are written as people would: some in words that the sample's generator knows, others with company,
ornaments or light that it has never seen. Which of them help is for the rounds of RAFT to find out.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from curation.sample.scene_captions import (
    BACKGROUNDS_EN,
    BACKGROUNDS_ZH,
    COLOURS_ZH,
    KINDS_ZH,
    NUMBERS_EN,
    NUMBERS_ZH,
    PLURALS,
    Language,
    is_held_out,
)
from curation.sample.scenes import BACKGROUNDS, COLOURS, HIDDEN_BY, KINDS, Scene, Thing

Choice = TypeVar("Choice")

FLOURISHES = {"plain": 0.2, "ornament": 0.1, "company": 0.45, "light": 0.1, "crowd": 0.15}
"""How an enrichment goes on, and its share of the pairs: a place alone; ornaments on the thing; things beside it; light and
camera; all at once. Three in five name other things beside the one asked for, which the generator then draws instead."""

_MOST_SHORT = {False: 1300, True: 120}
"""Distinct short prompts that pairs are made of, by whether they are held out: nearly all that there are."""

_ORNAMENTS_EN = (
    "covered with tiny golden dots",
    "with silver stripes and a lace edge",
    "wrapped in ribbons of every colour",
    "painted with blue flowers and green leaves",
    "carved with old patterns",
    "made of glass and paper",
)
_ORNAMENTS_ZH = (
    "上面布满金色小点",
    "带着银色条纹和花边",
    "缠着五颜六色的丝带",
    "画着蓝色花朵和绿色叶子",
    "刻着古老的花纹",
    "用玻璃和纸做成",
)
_LIGHTS_EN = (
    "soft rim light, shallow depth of field, highly detailed",
    "dramatic clouds, long shadows, a cinematic mood",
    "mist rising at dawn, glowing particles in the air",
    "seen from far above, tiny in a vast landscape",
    "reflections everywhere, neon lights, rain on the ground",
)
_LIGHTS_ZH = (
    "柔和的轮廓光，浅景深，细节丰富",
    "云层翻涌，影子很长，电影般的气氛",
    "清晨薄雾升起，空中有发光的微粒",
    "从高空俯瞰，在辽阔的风景里显得很小",
    "到处是倒影，霓虹灯光，地上有雨水",
)


@dataclass(frozen=True)
class ShortPrompt:
    """Three words of a user. `attributes`: a scene whose things are asked for, and whose background and style are not."""

    prompt_id: str
    prompt: str
    language: Language
    attributes: str

    @property
    def thing(self) -> Thing:
        """What is asked for."""
        return Scene.from_json(self.attributes).things[0]


@dataclass(frozen=True)
class ScenePair:
    """A short prompt and one enrichment of it."""

    short: ShortPrompt
    enriched: str
    flourish: str


def short_prompts(num_prompts: int, *, seed: int = 0, held_out: bool = False) -> list[ShortPrompt]:
    """Distinct prompts, English and Chinese in turn, of combinations that are kept for evaluation, or of the others.

    Raises:
        ValueError: there are not so many distinct ones.
    """
    rng = np.random.default_rng([seed, int(held_out)])
    found: dict[str, ShortPrompt] = {}
    for _ in range(200 * num_prompts):
        if len(found) == num_prompts:
            return list(found.values())
        thing = Thing(_pick(KINDS, rng), _pick(tuple(COLOURS), rng), count=_pick((1, 1, 1, 2, 3), rng))
        scene = Scene("white", "flat", (thing,))
        if is_held_out(scene) is not held_out:
            continue
        language: Language = "en" if len(found) % 2 == 0 else "zh"
        text = (_short_en if language == "en" else _short_zh)(thing, rng)
        if text not in found:
            attributes = json.dumps(json.loads(scene.to_json()), ensure_ascii=False)
            found[text] = ShortPrompt(f"short-{seed}-{len(found):05d}", text, language, attributes)
    raise ValueError(f"num_prompts: {num_prompts} asked for, there are only {len(found)} distinct ones")


def scene_pairs(num_pairs: int, *, seed: int = 0, held_out: bool = False) -> list[ScenePair]:
    """Distinct annotated pairs of the drawn world, flourishes in the shares of `FLOURISHES`.

    Raises:
        ValueError: there are not so many distinct ones.
    """
    rng = np.random.default_rng([seed, 7, int(held_out)])
    found: dict[tuple[str, str], ScenePair] = {}
    distinct = short_prompts(min(num_pairs, _MOST_SHORT[held_out]), seed=seed, held_out=held_out)
    names, shares = list(FLOURISHES), list(FLOURISHES.values())
    for number in range(20 * num_pairs):
        short = distinct[number % len(distinct)]
        flourish = names[int(rng.choice(len(names), p=shares))]
        text = enrich(short, flourish, rng)
        found.setdefault((short.prompt, text), ScenePair(short, text, flourish))
        if len(found) == num_pairs:
            return list(found.values())
    raise ValueError(f"num_pairs: {num_pairs} asked for, only {len(found)} distinct ones were found")


def enrich(short: ShortPrompt, flourish: str, rng: np.random.Generator) -> str:
    """One enrichment in the prompt's language."""
    thing = short.thing
    place = _pick(tuple(name for name in BACKGROUNDS if HIDDEN_BY.get(name) != thing.colour), rng)
    if thing.count == 1:
        thing = replace(thing, size=_pick(("small", "medium", "large"), rng))
    write = _enriched_en if short.language == "en" else _enriched_zh
    return write(thing, place, flourish, rng)


def _short_en(thing: Thing, rng: np.random.Generator) -> str:
    if thing.count > 1:
        words = f"{NUMBERS_EN[thing.count]} {thing.colour} {PLURALS[thing.kind]}"
        return _pick((words, f"draw {words}", f"picture of {words}", f"{words} please"), rng)
    words = f"{thing.colour} {thing.kind}"
    article = "an" if thing.colour[0] in "aeiou" else "a"
    return _pick((words, f"{article} {words}", f"draw {article} {words}", f"{article} {words} please"), rng)


def _short_zh(thing: Thing, rng: np.random.Generator) -> str:
    measure, name = KINDS_ZH[thing.kind]
    colour, number = COLOURS_ZH[thing.colour], NUMBERS_ZH[thing.count]
    if thing.count > 1:
        words = f"{number}{measure}{colour}的{name}"
        return _pick((words, f"画{words}", f"{number}{measure}{colour}{name}", f"来{words}"), rng)
    words = f"{colour}的{name}"
    return _pick((words, f"{colour}{name}", f"{number}{measure}{words}", f"画{number}{measure}{words}"), rng)


def _thing_en(thing: Thing) -> str:
    if thing.count > 1:
        return f"{NUMBERS_EN[thing.count]} {thing.colour} {PLURALS[thing.kind]}"
    size = "" if thing.size == "medium" else f"{thing.size} "
    words = f"{size}{thing.colour} {thing.kind}"
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def _thing_zh(thing: Thing) -> str:
    measure, name = KINDS_ZH[thing.kind]
    size = {"small": "小小的", "medium": "", "large": "大大的"}[thing.size] if thing.count == 1 else ""
    return f"{NUMBERS_ZH[thing.count]}{measure}{size}{COLOURS_ZH[thing.colour]}的{name}"


def _enriched_en(thing: Thing, place: str, flourish: str, rng: np.random.Generator) -> str:
    where, first = _pick(BACKGROUNDS_EN[place], rng), _thing_en(thing)
    if flourish == "ornament":
        return f"{first} {_pick(_ORNAMENTS_EN, rng)}, {where}"
    if flourish == "company":
        return f"{first} beside {_company(thing, _thing_en, rng)}, {where}"
    if flourish == "light":
        return f"{first} {where}, {_pick(_LIGHTS_EN, rng)}"
    if flourish == "crowd":
        others = f"{_company(thing, _thing_en, rng)} and {_company(thing, _thing_en, rng)}"
        return f"{first} {_pick(_ORNAMENTS_EN, rng)}, between {others}, {where}, {_pick(_LIGHTS_EN, rng)}"
    return _pick((f"{first} {where}", f"a picture of {first} {where}"), rng)


def _enriched_zh(thing: Thing, place: str, flourish: str, rng: np.random.Generator) -> str:
    where, first = _pick(BACKGROUNDS_ZH[place], rng), _thing_zh(thing)
    if flourish == "ornament":
        return f"{first}，{_pick(_ORNAMENTS_ZH, rng)}，{where}"
    if flourish == "company":
        return f"{first}，旁边是{_company(thing, _thing_zh, rng)}，{where}"
    if flourish == "light":
        return f"{first}，{where}，{_pick(_LIGHTS_ZH, rng)}"
    if flourish == "crowd":
        others = f"{_company(thing, _thing_zh, rng)}和{_company(thing, _thing_zh, rng)}"
        return f"{first}，{_pick(_ORNAMENTS_ZH, rng)}，夹在{others}中间，{where}，{_pick(_LIGHTS_ZH, rng)}"
    return _pick((f"{first}，{where}", f"画面里有{first}，{where}"), rng)


def _company(thing: Thing, tell: Callable[[Thing], str], rng: np.random.Generator) -> str:
    """Another thing, of another kind and colour."""
    kind = _pick(tuple(kind for kind in KINDS if kind != thing.kind), rng)
    colour = _pick(tuple(colour for colour in COLOURS if colour != thing.colour), rng)
    return tell(Thing(kind, colour, count=_pick((1, 2), rng)))


def _pick(choices: tuple[Choice, ...], rng: np.random.Generator) -> Choice:
    return choices[int(rng.integers(len(choices)))]
