import pytest

from pangu.prompt_guard import (
    GuardLimits,
    count_words,
    distinct_share,
    enhancement_fault,
    lost_things,
    named_things,
    refusal,
    refused_terms,
    text_language,
)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        ("  ...!? 123 ", "empty"),
        ("a red ball", None),
        ("A NUDE figure", "unsafe: sexual"),
        ("denuded hills in winter", None),
        ("a pipe   bomb on a table", "unsafe: weapons"),
        ("血腥的战场", "unsafe: violence"),
        ("一张假身份证的照片", "unsafe: misinformation"),
        ("血橙和石榴", None),
    ],
)
def test_empty_and_unsafe_texts_are_refused_by_whole_words(text, reason):
    assert refusal(text) == reason


def test_every_misuse_has_words_in_both_languages():
    for misuse, terms in refused_terms().items():
        assert any(term.isascii() for term in terms) and any(not term.isascii() for term in terms), misuse


@pytest.mark.parametrize(
    ("prompt", "language", "things"),
    [
        ("draw two red balls please", "en", ["two", "red", "ball"]),
        ("a box", "en", ["box"]),
        ("画一个红色的球", "zh", ["红色", "球"]),
        ("两个黑色盒子", "zh", ["两", "黑色盒子"]),
    ],
)
def test_what_a_prompt_names(prompt, language, things):
    assert named_things(prompt, language) == things


@pytest.mark.parametrize(
    ("prompt", "enhanced", "language", "lost"),
    [
        ("a red ball", "Two RED balls in the snow", "en", []),
        ("a red ball", "a red box in the snow", "en", ["ball"]),
        ("three foxes", "a fox at dawn", "en", ["three"]),
        ("红球", "沙滩上一个红色的球", "zh", []),
        ("红球", "沙滩上一个球，红色的天空", "zh", ["红球"]),
        ("两个红色的球", "三个红色的球，雪地背景", "zh", ["两"]),
    ],
)
def test_what_an_enhancement_lost(prompt, enhanced, language, lost):
    assert lost_things(prompt, enhanced, language) == lost


@pytest.mark.parametrize(
    ("enhanced", "fault"),
    [
        ("a red ball on a beach", None),
        ("", "empty"),
        ("a red ball and a beheaded doll", "unsafe: violence"),
        ("沙滩上一个红色的球", "language"),
        ("ball", "too short"),
        ("a red ball " * 12, "too long"),
        ("a red box on a beach", "lost: ball"),
    ],
)
def test_faults_of_an_enhancement(enhanced, fault):
    assert enhancement_fault("a red ball", enhanced, "en", GuardLimits(max_words=30)) == fault


def test_language_length_and_variety():
    assert text_language("一只戴着NASA帽子的猫") == "zh" and text_language("a cat named 小白 on a roof") == "en"
    assert count_words("两个红色的球 in 4k") == 8
    assert distinct_share(["a b c", "a b c"]) == 0.5 and distinct_share(["a b c", "红色的"]) == 1.0
    assert distinct_share([]) == 0.0
