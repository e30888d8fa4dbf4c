import random

import pytest

from curation.duplicates import DuplicateSettings, Picture, find_duplicates
from curation.fingerprint import colour_distance, colour_layout, hamming_distance, perceptual_hash, sha256_hex
from curation.rejection import Rejection


def picture(key: str, look: int = 0, area: int = 100, aesthetic: float = 5.0, data: str | None = None) -> Picture:
    return Picture(key, (data or key,), f"{look:016x}", area, aesthetic)


def test_same_bytes_then_same_look() -> None:
    found = find_duplicates([picture("a", 0, data="x"), picture("b", 1 << 40, data="x"), picture("c", 0b111, data="y")])
    assert {key: one.reason for key, one in found.items()} == {
        "b": Rejection.DUPLICATE_EXACT,
        "c": Rejection.DUPLICATE_PERCEPTUAL,
    }
    assert {one.kept_key for one in found.values()} == {"a"}


@pytest.mark.parametrize(
    ("one", "other", "leaves"),
    [
        (picture("a", area=100), picture("b", area=101), "a"),
        (picture("a", aesthetic=5.0), picture("b", aesthetic=5.1), "a"),
        (picture("a"), picture("b"), "b"),
        (picture("a", area=100, aesthetic=9.0), picture("b", area=200, aesthetic=1.0), "a"),
    ],
)
def test_who_stays(one: Picture, other: Picture, leaves: str) -> None:
    assert list(find_duplicates([one, other])) == [leaves]
    assert list(find_duplicates([other, one])) == [leaves]


def test_distance_is_inclusive_and_can_be_switched_off() -> None:
    four, five = [picture("a", 0), picture("b", 0b1111)], [picture("a", 0), picture("b", 0b11111)]
    assert list(find_duplicates(four)) == ["b"]
    assert not find_duplicates(five)
    assert not find_duplicates([picture("a"), picture("b")], DuplicateSettings(max_distance=None))


def test_a_chain_does_not_carry() -> None:
    chain = [picture("a", 0, 300), picture("b", 0b1111, 200), picture("c", 0b11111111, 100)]
    assert list(find_duplicates(chain)) == ["b"]  # c is near b only, and b does not stay


@pytest.mark.reliability(6)
def test_bands_find_what_comparing_all_finds_in_any_order() -> None:
    generator = random.Random(0)
    centres = [generator.getrandbits(64) for _ in range(40)]
    pictures = []
    for number in range(400):
        look = generator.choice(centres)
        for bit in generator.sample(range(64), generator.randint(0, 6)):
            look ^= 1 << bit
        pictures.append(picture(f"{number:03d}", look, generator.randint(1, 5), generator.random()))
    for distance in (0, 1, 4, 9, 16):
        kept: list[Picture] = []
        for one in sorted(pictures, key=lambda p: (-p.area_px, -p.aesthetic, p.key)):
            if all(hamming_distance(one.perceptual_hash, other.perceptual_hash) > distance for other in kept):
                kept.append(one)
        settings = DuplicateSettings(max_distance=distance)
        found = find_duplicates(pictures, settings)
        assert set(found) == {one.key for one in pictures} - {one.key for one in kept}
        assert find_duplicates(generator.sample(pictures, len(pictures)), settings) == found


def test_perceptual_hash_survives_size_and_jpeg(make_picture, encode) -> None:
    import io

    from PIL import Image

    original = make_picture(0, (320, 240))
    smaller = Image.open(io.BytesIO(encode(original.resize((160, 120)), "JPEG", quality=60)))
    assert hamming_distance(perceptual_hash(original), perceptual_hash(smaller)) <= 4
    others = [perceptual_hash(make_picture(seed, (320, 240))) for seed in range(1, 20)]
    assert min(hamming_distance(perceptual_hash(original), other) for other in others) > 10
    assert len(perceptual_hash(original)) == 16
    assert perceptual_hash(original) == perceptual_hash(original.copy())


def look(image) -> dict:
    return {"perceptual_hash": perceptual_hash(image), "colour_layout": colour_layout(image)}


def test_pictures_that_differ_in_colour_alone_are_two() -> None:
    from PIL import Image, ImageDraw

    def ball(colour: tuple[int, int, int]) -> Image.Image:
        image = Image.new("RGB", (64, 64), (240, 240, 240))
        ImageDraw.Draw(image).ellipse((30, 30, 40, 40), fill=colour)
        return image

    red, same_luma = ball((220, 40, 40)), ball((40, 118, 90))
    assert hamming_distance(perceptual_hash(red), perceptual_hash(same_luma)) <= 4  # the hash takes them for one
    pictures = [
        Picture(key, (key,), area_px=1, aesthetic=0.0, **look(image)) for key, image in (("a", red), ("b", same_luma))
    ]
    assert not find_duplicates(pictures)
    assert list(find_duplicates(pictures, DuplicateSettings(max_colour_distance=255))) == ["b"]


def test_colour_layout_survives_size_and_jpeg(make_picture, encode) -> None:
    import io

    from PIL import Image

    original = make_picture(0, (320, 240))
    smaller = Image.open(io.BytesIO(encode(original.resize((90, 66)), "JPEG", quality=60)))
    assert len(colour_layout(original)) == 192
    assert colour_distance(colour_layout(original), colour_layout(smaller)) <= 24


def test_sha256() -> None:
    assert sha256_hex(b"abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
