"""Every kind of picture becomes upright sRGB RGB8, or leaves with its reason."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms

from curation.decode import DecodeSettings, decode_picture, decode_rgb
from curation.errors import PictureError
from curation.rejection import Rejection

QUADRANTS = np.zeros((48, 80, 3), np.uint8)
QUADRANTS[:24, :40], QUADRANTS[:24, 40:], QUADRANTS[24:, :40], QUADRANTS[24:, 40:] = (
    (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0),
)  # fmt: skip

# How a camera that was turned stores the upright picture, by EXIF orientation: numpy, not Pillow's own transposes.
STORED = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, 1),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: np.rot90(a, -1),
}


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_all_orientations_come_out_upright(encode, orientation: int, name: str) -> None:
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation](QUADRANTS)))
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"quality": 100, "subsampling": 0} if name == "JPEG" else {"lossless": True} if name == "WEBP" else {}
    decoded = decode_picture(encode(stored, name, exif=exif, **options))
    assert decoded.image.size == (80, 48)
    assert np.abs(np.asarray(decoded.image).astype(int) - QUADRANTS).max() <= (30 if name == "JPEG" else 0)
    if name in ("JPEG", "PNG"):
        assert decoded.is_as_stored is (orientation == 1)


def test_orientation_out_of_range_is_ignored(encode) -> None:
    exif = Image.Exif()
    exif[0x0112] = 99
    assert decode_rgb(encode(Image.fromarray(QUADRANTS), exif=exif)).size == (80, 48)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA", "CMYK", "YCbCr", "I;16"])
def test_every_mode_becomes_rgb(make_picture, encode, mode: str) -> None:
    source = make_picture(1, (40, 30))
    image = source.convert("I").convert("I;16") if mode == "I;16" else source.convert(mode)
    name = "JPEG" if mode in ("CMYK", "YCbCr") else "PNG"
    decoded = decode_picture(encode(image, name))
    assert (decoded.image.mode, decoded.image.size) == ("RGB", (40, 30))
    assert decoded.is_as_stored is (mode in ("RGB", "YCbCr"))


def test_grey_of_sixteen_bits_keeps_its_brightness(encode) -> None:
    values = np.array([[0, 256, 32768, 65535]], dtype=np.uint16)
    assert np.asarray(decode_rgb(encode(Image.fromarray(values)))).tolist() == [
        [[0] * 3, [1] * 3, [128] * 3, [255] * 3]
    ]


def test_cmyk_white_and_black_are_not_inverted(encode) -> None:
    white = encode(Image.new("CMYK", (16, 16), (0, 0, 0, 0)), "JPEG", quality=100)
    black = encode(Image.new("CMYK", (16, 16), (0, 0, 0, 255)), "JPEG", quality=100)
    assert np.asarray(decode_rgb(white)).min() >= 250
    assert np.asarray(decode_rgb(black)).max() <= 5


def test_transparency_lies_on_white(encode) -> None:
    rgba = Image.new("RGBA", (2, 1), (200, 0, 0, 0))
    rgba.putpixel((1, 0), (200, 0, 0, 255))
    assert np.asarray(decode_rgb(encode(rgba))).tolist() == [[[255, 255, 255], [200, 0, 0]]]
    palette = Image.new("P", (2, 1), 0)
    palette.putpalette([10, 20, 30, 40, 50, 60])
    palette.putpixel((1, 0), 1)
    assert np.asarray(decode_rgb(encode(palette, transparency=0))).tolist() == [[[255, 255, 255], [40, 50, 60]]]
    opaque_key = encode(Image.new("RGB", (1, 1), (1, 2, 3)), transparency=(1, 2, 3))
    assert np.asarray(decode_rgb(opaque_key)).tolist() == [[[255, 255, 255]]]


def test_colour_profile_is_applied(encode) -> None:
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    image = Image.new("RGB", (8, 8), (90, 120, 200))
    assert decode_picture(encode(image, icc_profile=srgb)).is_as_stored
    for unfit in (lab, b"no profile at all"):
        decoded = decode_picture(encode(image, icc_profile=unfit))
        assert np.asarray(decoded.image)[0, 0].tolist() == [90, 120, 200]
        assert not decoded.is_as_stored


def test_first_frame_of_an_animation(encode) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    decoded = decode_picture(encode(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    assert np.asarray(decoded.image)[0, 0].tolist() == [255, 0, 0]


def _png_header(width: int, height: int) -> bytes:
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    idat = b"IDAT" + zlib.compress(b"\0" * 100)
    chunks = [struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in (body, idat, b"IEND")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def _webp_header(width: int, height: int) -> bytes:
    payload = bytes([0x10, 0, 0, 0]) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    chunk = b"VP8X" + struct.pack("<I", len(payload)) + payload
    return b"RIFF" + struct.pack("<I", 4 + len(chunk)) + b"WEBP" + chunk


@pytest.mark.reliability(20)
@pytest.mark.parametrize(
    "bomb",
    [
        _png_header(60_000, 60_000),
        _png_header(10_000, 9_000),
        _webp_header(16_000, 16_000),
        _webp_header(12_000, 9_000),
    ],
)
def test_pixel_limit_holds_before_anything_is_decoded(bomb: bytes, monkeypatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 200_000_000)  # ours must hold without Pillow's
    with pytest.raises(PictureError) as caught:
        decode_rgb(bomb, DecodeSettings())
    assert caught.value.reason is Rejection.TOO_MANY_PIXELS


@pytest.mark.reliability(20)
def test_pixel_limit_is_a_setting(encode) -> None:
    data = encode(Image.new("RGB", (20, 10)))
    assert decode_rgb(data, DecodeSettings(max_pixels=200)).size == (20, 10)
    with pytest.raises(PictureError, match="20x10"):
        decode_rgb(data, DecodeSettings(max_pixels=199))


@pytest.mark.reliability(20)
@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"hello",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"%!PS-Adobe-3.0 EPSF-3.0\n",
        b"P6 1 1 255 abc",
        b"\0" * 64,
    ],
)
def test_formats_are_an_allow_list(data: bytes) -> None:
    with pytest.raises(PictureError) as caught:
        decode_rgb(data)
    assert caught.value.reason is Rejection.UNKNOWN_FORMAT


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
def test_half_a_picture_is_refused(make_picture, encode, name: str) -> None:
    data = encode(make_picture(2, (200, 150)), name)
    with pytest.raises(PictureError) as caught:
        decode_rgb(data[: len(data) // 2])
    assert caught.value.reason in {Rejection.TRUNCATED, Rejection.UNDECODABLE}


@pytest.mark.reliability(20)
def test_mutated_pictures_raise_nothing_else(make_picture, encode) -> None:
    generator = np.random.default_rng(0)
    seeds = [encode(make_picture(3, (48, 32)), name) for name in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")]
    outcomes = {True: 0, False: 0}
    for number in range(510):
        data = bytearray(seeds[number % len(seeds)])
        for position in generator.integers(0, len(data), 1 + number % 8):
            data[position] = generator.integers(0, 256)
        try:
            image = decode_rgb(bytes(data), DecodeSettings(max_pixels=1_000_000))
            assert image.mode == "RGB"
            outcomes[True] += 1
        except PictureError:
            outcomes[False] += 1
    assert min(outcomes.values()) > 50


def test_exif_is_kept_as_short_text(encode) -> None:
    exif = Image.Exif()
    exif[0x010F] = "Maker" + "x" * 500
    text = decode_picture(encode(Image.new("RGB", (4, 4)), "JPEG", exif=exif)).exif
    assert text is not None
    assert text.startswith('{"Make": "Makerxxx')
    assert len(text) < 300
    assert decode_picture(encode(Image.new("RGB", (4, 4)))).exif is None


def test_decode_reads_bytes_only() -> None:
    with pytest.raises(PictureError):
        decode_rgb(io.BytesIO(b"/etc/passwd").getvalue())
