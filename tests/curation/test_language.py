import pytest

from curation.language import caption_language, split_by_language


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("a red ball", "en"), ("一个红球", "zh"), ("iPhone 手机的照片", "zh"), ("the character 猫 means cat", "en"),
        ("", None), ("123 !?", None), ("😀", None), ("𠀀", "zh"),
    ],
)  # fmt: skip
def test_caption_language(text: str, language: str | None) -> None:
    assert caption_language(text) == language


def test_split_keeps_order_and_drops_repeats() -> None:
    assert split_by_language(["b", " a ", "猫", "b", "12"]) == (["b", "a"], ["猫"])
