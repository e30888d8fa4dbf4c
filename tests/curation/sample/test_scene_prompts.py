from collections import Counter

import numpy as np
import pytest

from curation.language import caption_language
from curation.sample import scene_prompts
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


def test_pairs_are_distinct_and_have_flourishes_in_their_shares():
    pairs = scene_pairs(2000)
    assert len({(pair.short.prompt, pair.enriched) for pair in pairs}) == 2000
    found = Counter(pair.flourish for pair in pairs)
    for flourish, share in FLOURISHES.items():
        assert abs(found[flourish] / 2000 - share) < 4 * (share * (1 - share) / 2000) ** 0.5, flourish
    assert not any(is_held_out(Scene.from_json(pair.short.attributes)) for pair in pairs)
    assert sum(FLOURISHES.values()) == pytest.approx(1)


def test_more_pairs_than_there_are_is_an_error(monkeypatch):
    monkeypatch.setattr(scene_prompts, "_MOST_SHORT", {False: 1})
    monkeypatch.setattr(scene_prompts, "FLOURISHES", {"plain": 1.0})
    with pytest.raises(ValueError, match=r"num_pairs: 300 asked for, only \d+ distinct ones"):
        scene_pairs(300)
