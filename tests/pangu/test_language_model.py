"""The model that is built from nothing: its tokenizer, which lets the words of a prompt be copied."""

import subprocess
import sys

import pytest

from curation.sample.scene_prompts import scene_pairs
from pangu.language_model import build_language_model


@pytest.fixture(scope="module")
def language_model():
    pairs = scene_pairs(300)
    return build_language_model([text for pair in pairs for text in (pair.short.prompt, pair.enriched)], shape="tiny")


@pytest.mark.parametrize(
    ("prompt", "language", "words", "enriched"),
    [
        ("red ball", "en", "red ball", "a small red ball in the snow"),
        ("two red fish", "en", "two red fish", "a picture of two red fish at sunset"),
        ("红色的球", "zh", "红色的球", "雪地里一个小小的红色的球"),
        ("画两条红色的鱼", "zh", "红色的鱼", "两条红色的鱼，日落背景"),
    ],
)
def test_the_words_of_a_prompt_are_the_same_tokens_in_its_enrichment(language_model, prompt, language, words, enriched):
    asked = language_model.prompt_tokens(prompt, language)[:-1]
    num_words = len(language_model.prompt_tokens(words, language)) - 1
    copied = [token for token in asked[-num_words:] if language_model.tokenizer.decode([token]).strip()]
    answer = language_model.answer_tokens(enriched)
    assert any(answer[place : place + len(copied)] == copied for place in range(len(answer)))


@pytest.mark.parametrize("text", ["a red ball, at dusk", "红色的球，雪地背景", "naïve café 😀 ½ 龘", "A  B"])
def test_every_text_comes_back_as_it_was(language_model, text):
    tokens = language_model.answer_tokens(text)
    assert tokens[-1] == language_model.end_id
    assert language_model.read_answer(tokens) == text


def test_an_unknown_shape_is_named():
    with pytest.raises(ValueError, match="accepted are sample, tiny"):
        build_language_model(["a"], shape="vast")


def test_it_loads_in_a_process_that_has_imported_nothing_else(language_model, tmp_path):
    language_model.save(tmp_path)
    told = "import sys; from pangu.enhancer import PromptEnhancer; PromptEnhancer.load(sys.argv[1])"
    ended = subprocess.run([sys.executable, "-c", told, str(tmp_path)], capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stderr
