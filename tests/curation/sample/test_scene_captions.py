import json

import numpy as np
import pytest

from curation.sample.scene_captions import (
    BACKGROUNDS_EN,
    BACKGROUNDS_ZH,
    COLOURS_ZH,
    KINDS_ZH,
    NUMBERS_EN,
    NUMBERS_ZH,
    PLURALS,
    caption_en,
    caption_zh,
    is_held_out,
    near_misses,
    sample_prompts,
)
from curation.sample.scenes import Scene, Thing, random_scene

SCENES = [random_scene(np.random.default_rng(seed), aspect=1.0) for seed in range(300)]
FLIPPED = {"left": "right", "right": "left", "above": "below", "below": "above"}
ZH_SIDE = {"左": "left", "右": "right", "上面": "above", "下面": "below"}


def _words(text: str) -> list[str]:
    return text.replace(",", " ").split()


@pytest.mark.parametrize("scene", SCENES[:150])
def test_both_captions_name_everything_that_is_drawn(scene):
    rng = np.random.default_rng(1)
    english, chinese = caption_en(scene, rng), caption_zh(scene, rng)
    words = _words(english)
    for thing in scene.things:
        noun = thing.kind if thing.count == 1 else PLURALS[thing.kind]
        at = [i for i, word in enumerate(words) if word == noun and words[i - 1] == thing.colour]
        assert at, english
        if thing.count > 1:
            assert words[at[0] - 2] == NUMBERS_EN[thing.count]
        measure, name = KINDS_ZH[thing.kind]
        assert f"{COLOURS_ZH[thing.colour]}的{name}" in chinese
        assert f"{NUMBERS_ZH[thing.count]}{measure}" in chinese
        if thing.size != "medium":
            assert thing.size in words
            assert {"small": "小小的", "large": "大大的"}[thing.size] in chinese
    assert any(place in english for place in BACKGROUNDS_EN[scene.background])
    assert any(place in chinese for place in BACKGROUNDS_ZH[scene.background])
    if scene.side is not None:
        assert f"{scene.side} side" in english
        assert {"left": "左侧", "right": "右侧"}[scene.side] in chinese


def _relation_read_from_english(scene: Scene, text: str) -> str:
    """Relation of the scene's first thing to its second, read from the words alone."""
    word = next(word for word in _words(text) if word in FLIPPED)
    first, second = (f"{thing.colour} {thing.kind}" for thing in scene.things)
    return word if text.index(first) < text.index(second) else FLIPPED[word]


def _relation_read_from_chinese(scene: Scene, text: str) -> str:
    """In 'A在B的左边' A is left; in 'B的左边是A' A is left as well: what comes before 的X边 is the landmark."""
    names = [COLOURS_ZH[thing.colour] + "的" + KINDS_ZH[thing.kind][1] for thing in scene.things]
    at, side = next((text.index("的" + mark), side) for mark, side in ZH_SIDE.items() if "的" + mark in text)
    landmark = next(index for index, name in enumerate(names) if text[:at].endswith(name))
    return side if landmark == 1 else FLIPPED[side]


@pytest.mark.parametrize("scene", [scene for scene in SCENES if scene.relation is not None])
def test_relations_are_true_from_whichever_end_they_are_told(scene):
    truth = scene.relation.removesuffix("_of")
    for seed in range(6):
        rng = np.random.default_rng(seed)
        assert _relation_read_from_english(scene, caption_en(scene, rng)) == truth
        assert _relation_read_from_chinese(scene, caption_zh(scene, rng)) == truth


def test_near_misses_differ_in_what_they_say():
    rng = np.random.default_rng(2)
    seen = set()
    for scene in SCENES:
        for respect, miss in near_misses(scene, rng).items():
            seen.add(respect)
            assert miss != scene
            assert sorted(caption_zh(miss, np.random.default_rng(0))) != sorted(
                caption_zh(scene, np.random.default_rng(0))
            ) or respect in ("binding", "relation")
            if respect == "relation":
                assert miss.things == scene.things
            if respect == "binding":
                assert {t.colour for t in miss.things} == {t.colour for t in scene.things}
                assert miss.things[0].colour != scene.things[0].colour
    assert seen == {"colour", "shape", "background", "count", "side", "binding", "relation"}


def test_held_out_combinations_do_not_depend_on_the_order():
    ball, box = Thing("ball", "red"), Thing("box", "blue")
    one = Scene("white", "flat", (ball, box), relation="above")
    other = Scene("night", "shaded", (box, ball), relation="left_of")
    assert is_held_out(one) == is_held_out(other)
    assert 0.05 < np.mean([is_held_out(scene) for scene in SCENES]) < 0.25


def test_prompts_are_held_out_bilingual_and_repeatable():
    prompts = sample_prompts(40, seed=3, aspects=(4.0, 1.0, 0.25))
    assert prompts == sample_prompts(40, seed=3, aspects=(4.0, 1.0, 0.25))
    assert {prompt.language for prompt in prompts} == {"en", "zh"}
    assert {prompt.style for prompt in prompts} == {"cartoon", "aesthetic"}
    assert len({prompt.prompt_id for prompt in prompts}) == 40
    for prompt in prompts:
        scene = Scene.from_json(prompt.attributes)
        assert is_held_out(scene)
        assert json.loads(prompt.attributes)["style"] == {"cartoon": "flat", "aesthetic": "shaded"}[prompt.style]
        assert prompt.prompt.isascii() == (prompt.language == "en")
