"""The enhancer's page: pictures before and after in both languages, curves, hostile texts."""

import io

import pytest
from PIL import Image

from pangu.evaluation.dashboard.content import SiteContent
from pangu.evaluation.dashboard.enhancement import (
    EnhancementContent,
    EnhancementRound,
    PromptPictures,
    enhancement_charts,
    phase_shares,
)
from pangu.evaluation.dashboard.site import write_site


def png(colour):
    sink = io.BytesIO()
    Image.new("RGB", (64, 64), colour).save(sink, "PNG")
    return sink.getvalue()


def a_round(number, rate, **more):
    bounds = (rate, rate - 0.1, rate + 0.1)
    return EnhancementRound(number, 64, bounds, bounds, bounds, 1.0, 0.99, 12.0, 0.4, **more)


HOSTILE = '"><script>alert(1)</script>'


@pytest.fixture
def content():
    pairs = (
        PromptPictures(
            "en",
            ("a red ball", "a red ball in a crowd", "a red ball in the snow"),
            (png("red"), png("blue"), png("green")),
            (-0.5, -2.25, 0.75),
        ),
        PromptPictures(
            "zh", ("红色的球", HOSTILE, "雪地里一个红色的球"), (png("red"), None, png("white")), (0.1, None, 0.2)
        ),
    )
    rounds = (a_round(0, 0.5), a_round(1, 0.62, seconds={"expand": 3.0, "tune": 9.0}, winners=24), a_round(2, 0.71))
    return EnhancementContent(
        "k" * 24, "d" * 64, "the scene judge", "all rounds done", 2, rounds, pairs, (2.0, 1.0), (2.5, 1.5)
    )


def written(folder, content):
    pages = write_site(folder, SiteContent("Test", "", "2026-11-27", (), enhancement=content))
    return {page.name: page.read_text(encoding="utf-8") for page in pages}


def test_the_page_shows_texts_pictures_figures_and_curves(content, tmp_path):
    pages = written(tmp_path, content)
    page = pages["enhancement.html"]
    for text in (
        "a red ball in a crowd",
        "雪地里一个红色的球",
        "the scene judge",
        "0.710",
        "0.610 to 0.810",
        "2.500 before",
    ):
        assert text in page, text
    assert page.count("<img ") == 5 and page.count("not drawn") == 1
    assert page.count('<svg class="chart"') == 3 and '<svg class="stack"' in page
    assert 'href="enhancement.html" aria-current="page"' in page and 'lang="zh-Hans"' in page


def test_hostile_texts_stay_texts(content, tmp_path):
    page = written(tmp_path, content)["enhancement.html"]
    assert "<script" not in page and "&lt;script&gt;" in page


def test_without_an_enhancer_the_navigation_leaves_it_out(tmp_path):
    pages = written(tmp_path, None)
    assert (
        'href="enhancement.html"' not in pages["index.html"]
        and "No enhancer has been trained" in pages["enhancement.html"]
    )


def test_a_champion_gives_a_third_line(content):
    [rates, rewards, kept] = enhancement_charts(content)
    assert [name for name, _ in rates[1]] == ["over the supervised model", "over the prompts as written"]
    assert len(rewards[1]) == 1 and len(kept[1]) == 3
    with_champion = EnhancementContent(
        "k", "d", "s", "w", 0, tuple(a_round(n, 0.5, wins_over_champion=(0.5, 0.4, 0.6)) for n in (0, 1))
    )
    assert len(enhancement_charts(with_champion)[0][1]) == 3
    assert phase_shares(content.rounds[1]) == [("expand", 3.0, 0), ("tune", 9.0, 1)]
