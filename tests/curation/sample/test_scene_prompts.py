import numpy as np
import pytest

from curation.language import caption_language
from curation.sample.scene_captions import is_held_out
from curation.sample.scene_prompts import FLOURISHES, enrich, scene_pairs, short_prompts
from curation.sample.scenes import Scene
from pangu.prompt_guard import GuardLimits, enhancement_fault


@pytest.mark.parametrize("held_out", [False, True])
def test_short_prompts_are_distinct_bilingual_and_split_by_combination(held_out):
    prompts = short_prompts(60, held_out=held_out)
    assert len({prompt.prompt for prompt in prompts}) == 60
    assert all(is_held_out(Scene.from_json(prompt.attributes)) is held_out for prompt in prompts)
    assert [prompt.language for prompt in prompts[:4]] == ["en", "zh", "en", "zh"]
    assert all(caption_language(prompt.prompt) == prompt.language for prompt in prompts)
    assert short_prompts(60, held_out=held_out) == prompts


def test_more_than_there_are_is_an_error():
    with pytest.raises(ValueError, match="there are only"):
        short_prompts(5000, held_out=True)


@pytest.mark.parametrize("flourish", FLOURISHES)
def test_an_enrichment_keeps_the_language_and_what_is_named(flourish):
    rng = np.random.default_rng(1)
    for prompt in short_prompts(40):
        text = enrich(prompt, flourish, rng)
        assert enhancement_fault(prompt.prompt, text, prompt.language, GuardLimits()) is None, (prompt.prompt, text)


def test_pairs_use_every_flourish():
    pairs = scene_pairs(200)
    assert {pair.flourish for pair in pairs} == set(FLOURISHES)
    assert not any(is_held_out(Scene.from_json(pair.short.attributes)) for pair in pairs)
