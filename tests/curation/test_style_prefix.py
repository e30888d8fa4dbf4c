import pytest
from pydantic import ValidationError

from curation.style_prefix import RELEASED_PREFIXES, Style, StyleSettings, add_prefix, check_prefixes, choose_style

SETTINGS = StyleSettings(min_aesthetic=5.0, cartoon_low=0.3, cartoon_high=0.7)


@pytest.mark.parametrize(
    ("aesthetic", "cartoon", "style"),
    [
        (6.0, 0.1, Style.AESTHETIC),
        (5.0, 0.3, Style.AESTHETIC),
        (4.9, 0.1, Style.OTHER),
        (6.0, 0.5, Style.OTHER),
        (6.0, 0.7, Style.CARTOON),
        (1.0, 0.9, Style.CARTOON),
        (9.0, 0.99, Style.CARTOON),
    ],
)
def test_pools_are_disjoint(aesthetic: float, cartoon: float, style: Style) -> None:
    assert choose_style(aesthetic, cartoon, SETTINGS) is style


def test_prefixes_are_the_released_characters() -> None:
    assert RELEASED_PREFIXES == {"aesthetic": "義 ", "cartoon": "饅 ", "photo": "霙 "}
    assert add_prefix("a cat", Style.AESTHETIC, SETTINGS) == "義 a cat"
    assert add_prefix("一只猫", Style.CARTOON, SETTINGS) == "饅 一只猫"
    assert add_prefix("a cat", Style.OTHER, SETTINGS) == "a cat"
    assert add_prefix("義 a cat", Style.AESTHETIC, SETTINGS) == "義 a cat"


@pytest.mark.parametrize(
    "change",
    [
        {"cartoon_low": 0.8},
        {"prefixes": {"aesthetic": "x ", "cartoon": "x "}},
        {"prefixes": {"other": "x "}},
        {"prefixes": {"aesthetic": " "}},
        {"min_beauty": 1},
    ],
)
def test_bad_settings(change) -> None:
    with pytest.raises(ValidationError):
        StyleSettings(**change)


def test_prefix_must_be_known_and_distinct() -> None:
    vocabulary = {"義": 5, "饅": 6}

    def tokenize(text: str) -> list[int]:
        return [vocabulary.get(char, 0) for char in text.split()]

    check_prefixes(["義 ", "饅 "], tokenize, 0, "toy")
    with pytest.raises(ValueError, match=r"U\+9719.*unknown token in toy"):
        check_prefixes(["義 ", "霙 "], tokenize, 0, "toy")
    with pytest.raises(ValueError, match="no token"):
        check_prefixes(["義 "], lambda _: [], 0, "toy")
    with pytest.raises(ValueError, match="same tokens"):
        check_prefixes(["義 ", "饅 "], lambda _: [7], 0, "toy")
