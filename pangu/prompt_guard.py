"""What a prompt may not be, before and after it is enhanced; and what an enhancement must keep of it.

The words refused stand in `prompt_terms.toml`, in both languages, by the misuse that the method's authors name. A list of
words is a first fence, not a judge: whoever serves strangers puts a classifier in front and another behind the generator.
"""

import itertools
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources

_HAN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]")
_LATIN = re.compile(r"[A-Za-z]")
_WORD = re.compile(r"[A-Za-z0-9']+")
_BREAKS_ZH = re.compile(
    r"[^\u3400-\u4dbf\u4e00-\u9fffA-Za-z0-9]+|[的了在和与着是有里上中把请画来]"
    r"|[一两二三四五六七八九十几][个只条颗棵座辆张朵头匹位本杯间片]"
)
_COUNTED_ZH = re.compile(r"([两二三四五六七八九十])[个只条颗棵座辆张朵头匹位本杯间片]")
_STOP_EN = frozenset(
    re.split(
        r"\s+",
        "a an the of in on at by to for with and or from into over under near is are be please draw drawing paint painting "
        "picture image photo photograph make show me my i want some this that its it one",
    )
)
_NUMBERS_ZH = "一两二三四五六七八九十几"


class PromptRefused(ValueError):
    """A prompt or its enhancement may not be used; the message says which and why."""


@dataclass(frozen=True)
class GuardLimits:
    """How long an enhancement may be: its own words, a Han character counting as one."""

    min_words: int = 2
    max_words: int = 90


@cache
def refused_terms() -> Mapping[str, tuple[str, ...]]:
    """Misuse -> words, as shipped."""
    text = resources.files("pangu").joinpath("prompt_terms.toml").read_text(encoding="utf-8")
    return {name: tuple(words) for name, words in tomllib.loads(text).items()}


def refusal(text: str) -> str | None:
    """Why this text may not be drawn: 'empty' or 'unsafe: <misuse>'; None where it may."""
    if not _HAN.search(text) and not _LATIN.search(text):
        return "empty"
    lowered = text.lower()
    words = _WORD.findall(lowered)
    joined = f" {' '.join(words)} "
    for misuse, terms in refused_terms().items():
        for term in terms:
            found = term in lowered if _HAN.search(term) else f" {term} " in joined
            if found:
                return f"unsafe: {misuse}"
    return None


def text_language(text: str) -> str:
    """'zh' where a fifth of the letters is Han, else 'en'."""
    han = len(_HAN.findall(text))
    return "zh" if han and han * 4 >= len(_LATIN.findall(text)) else "en"


def count_words(text: str) -> int:
    """Words, a Han character counting as one."""
    return len(_HAN.findall(text)) + len(_WORD.findall(_HAN.sub(" ", text)))


def named_things(prompt: str, language: str) -> list[str]:
    """What a prompt names and an enhancement must keep: the words that carry its meaning, in its order."""
    if language != "zh":
        return [word for word in (_singular(each) for each in _WORD.findall(prompt.lower())) if word not in _STOP_EN]
    pieces = [piece for piece in _BREAKS_ZH.split(prompt) if piece and piece not in _NUMBERS_ZH]
    return [*_COUNTED_ZH.findall(prompt), *pieces]


def lost_things(prompt: str, enhanced: str, language: str) -> list[str]:
    """The named things that an enhancement dropped.

    An English word is kept in singular or plural; a Chinese name where its characters stand in order, so that words may
    come between them.
    """
    if language != "zh":
        there = {_singular(word) for word in _WORD.findall(enhanced.lower())}
        return [word for word in named_things(prompt, language) if word not in there]
    return [piece for piece in named_things(prompt, language) if not _in_order(piece, enhanced)]


def enhancement_fault(prompt: str, enhanced: str, language: str, limits: GuardLimits) -> str | None:
    """Why an enhancement may not stand for its prompt; None where it may.

    'empty', 'unsafe: <misuse>', 'language', 'too short', 'too long' or 'lost: <names>'.
    """
    refused = refusal(enhanced)
    if refused is not None:
        return refused
    if text_language(enhanced) != ("zh" if language == "zh" else "en"):
        return "language"
    length = count_words(enhanced)
    if length > limits.max_words:
        return "too long"
    if length < limits.min_words:
        return "too short"
    lost = lost_things(prompt, enhanced, language)
    return f"lost: {', '.join(lost)}" if lost else None


def distinct_share(texts: Sequence[str]) -> float:
    """Distinct word pairs over all word pairs of these texts (distinct-2): low where they repeat one another."""
    pairs = [pair for text in texts for pair in _pairs(text)]
    return len(set(pairs)) / len(pairs) if pairs else 0.0


def _pairs(text: str) -> list[tuple[str, str]]:
    words = re.findall(r"[\u3400-\u4dbf\u4e00-\u9fff]|[A-Za-z0-9']+", text.lower())
    return list(itertools.pairwise(words))


def _singular(word: str) -> str:
    if len(word) > 4 and word.endswith(("xes", "ches", "shes", "sses")):
        return word[:-2]
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word


def _in_order(piece: str, text: str) -> bool:
    place = 0
    for character in piece:
        place = text.find(character, place) + 1
        if place == 0:
            return False
    return True
