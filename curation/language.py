"""Which of the two languages a caption is in."""

from collections.abc import Iterable

_HAN_RANGES = ((0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x323AF))


def count_han(text: str) -> int:
    """Number of Chinese characters in the text."""
    return sum(any(low <= ord(char) <= high for low, high in _HAN_RANGES) for char in text)


def caption_language(text: str) -> str | None:
    """'zh', 'en' or, where the text has no letter of either, None.

    Chinese where a fifth of the letters is Han: a Han character says about as much as four Latin ones, so a Chinese
    caption with an English name in it stays Chinese.
    """
    han = count_han(text)
    latin = sum(char.isascii() and char.isalpha() for char in text)
    if han and han * 4 >= latin:
        return "zh"
    return "en" if latin else None


def split_by_language(captions: Iterable[str]) -> tuple[list[str], list[str]]:
    """(English, Chinese) captions, stripped, in order, each once; text of neither language is left out."""
    split: dict[str, dict[str, None]] = {"en": {}, "zh": {}}
    for caption in captions:
        language = caption_language(caption)
        if language is not None:
            split[language][caption.strip()] = None
    return list(split["en"]), list(split["zh"])
