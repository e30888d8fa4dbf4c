"""The one decode of the chain: any picture of an allowed format to upright sRGB RGB of 8 bits per channel.

Orientation (EXIF) is applied, colour profiles and CMYK become sRGB, transparency is laid on white, 16 bits and grey
become RGB8. The number of pixels is checked on the header, before anything is allocated.
"""

import io
import json
import struct
from dataclasses import dataclass

import numpy as np
from PIL import ExifTags, Image, ImageCms, ImageFile, UnidentifiedImageError
from pydantic import BaseModel, ConfigDict, Field

from curation.errors import PictureError
from curation.rejection import Rejection

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
"""The allowed formats; of an animation the first frame counts."""

_MAGIC = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"BM", b"II*\x00", b"MM\x00*")
_STORABLE = frozenset({"JPEG", "PNG", "WEBP"})
_ORIENTATION = 0x0112
_MAX_EXIF_CHARS = 200
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


class DecodeSettings(BaseModel):
    """Limits a picture must keep to be decoded."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_pixels: int = Field(default=80_000_000, ge=1, le=Image.MAX_IMAGE_PIXELS)


@dataclass(frozen=True)
class DecodedPicture:
    """`image` is mode RGB, upright; `is_as_stored` says that the source bytes already mean exactly these pixels."""

    image: Image.Image
    source_format: str
    source_mode: str
    orientation: int
    exif: str | None
    is_as_stored: bool


def decode_picture(data: bytes, settings: DecodeSettings | None = None) -> DecodedPicture:
    """Decode; PictureError with the reason where that cannot be done. Hostile bytes raise nothing else."""
    settings = settings or DecodeSettings()
    try:
        return _decode(data, settings)
    except PictureError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise PictureError(Rejection.TOO_MANY_PIXELS, str(error)) from error
    except Exception as error:  # the boundary: Pillow's decoders raise nearly anything on damaged bytes
        message = f"{type(error).__name__}: {error}"
        is_short = "truncated" in message.lower() or isinstance(error, EOFError)
        raise PictureError(Rejection.TRUNCATED if is_short else Rejection.UNDECODABLE, message) from error


def decode_rgb(data: bytes, settings: DecodeSettings | None = None) -> Image.Image:
    """The picture alone."""
    return decode_picture(data, settings).image


def _decode(data: bytes, settings: DecodeSettings) -> DecodedPicture:
    _check_pixels(_webp_canvas(data), settings)
    try:
        opened = Image.open(io.BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError as error:
        is_known = data.startswith(_MAGIC) or _is_webp(data)
        # Pillow's own message holds a memory address: no two runs would give the same row
        if is_known:
            raise PictureError(Rejection.UNDECODABLE, "the header is damaged") from error
        raise PictureError(Rejection.UNKNOWN_FORMAT, f"starts with {data[:8].hex(' ')}") from error
    with opened as source:
        _check_pixels(source.size, settings)
        source_format, source_mode = source.format or "", source.mode
        num_frames = getattr(source, "n_frames", 1)
        profile = source.info.get("icc_profile")
        source.load()
        exif = source.getexif()  # after load: the TIFF reader turns the pixels itself and drops the tag
        orientation = _read_orientation(exif)
        image = _to_rgb(source, profile)
        if orientation in _UPRIGHT:
            image = image.transpose(_UPRIGHT[orientation])
        is_as_stored = (
            source_format in _STORABLE
            and num_frames == 1
            and source_mode == "RGB"
            and orientation == 1
            and "transparency" not in source.info
            and (not profile or _is_srgb(profile))
        )
        return DecodedPicture(image, source_format, source_mode, orientation, _exif_json(exif), is_as_stored)


def _check_pixels(size: tuple[int, int], settings: DecodeSettings) -> None:
    width, height = size
    if width * height > settings.max_pixels:
        raise PictureError(
            Rejection.TOO_MANY_PIXELS, f"{width}x{height} announces more than {settings.max_pixels} pixels"
        )


def _is_webp(data: bytes) -> bool:
    return data[:4] == b"RIFF" and data[8:12] == b"WEBP"


def _webp_canvas(data: bytes) -> tuple[int, int]:
    """(width, height) that a WebP announces, else (0, 0): Pillow allocates a WebP's canvas while opening it."""
    if not _is_webp(data) or len(data) < 30:
        return 0, 0
    if data[12:16] == b"VP8X":
        return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    if data[12:16] == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    width, height = struct.unpack_from("<HH", data, 26)
    return width & 0x3FFF, height & 0x3FFF


def _read_orientation(exif: Image.Exif) -> int:
    value = exif.get(_ORIENTATION, 1)
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _to_rgb(source: ImageFile.ImageFile, profile: bytes | None) -> Image.Image:
    if source.mode.startswith("I") or source.mode == "F":
        return _high_depth_to_grey(source).convert("RGB")
    image: Image.Image = source
    if "transparency" in source.info or source.mode in ("RGBA", "LA", "PA", "RGBa", "La"):
        image = _on_white(source, profile)
    elif source.mode in ("P", "1"):
        image = source.convert("RGB")
    if profile and not _is_srgb(profile) and image.mode in ("RGB", "CMYK", "L", "LAB"):
        image = _through_profile(image, profile)
    return image if image.mode == "RGB" and image is not source else image.convert("RGB")


def _on_white(source: Image.Image, profile: bytes | None) -> Image.Image:
    """RGB on white paper; a profile is applied to the colours first, since white is meant in sRGB."""
    rgba = source.convert("RGBA")
    colours = rgba.convert("RGB")
    if profile and not _is_srgb(profile):
        colours = _through_profile(colours, profile)
    paper = Image.new("RGB", rgba.size, (255, 255, 255))
    paper.paste(colours, mask=rgba.getchannel("A"))
    return paper


def _high_depth_to_grey(source: Image.Image) -> Image.Image:
    """Grey of 8 bits from 16 or 32 bits or float: the high byte of 16, and [0, 1] or [0, 255] for float."""
    values = np.asarray(source).astype(np.float64)
    if source.mode == "F":
        values = np.nan_to_num(values)
        scaled = values * 255.0 if values.max(initial=0.0) <= 1.0 else values
    else:
        scaled = values // 256 if values.max(initial=0.0) > 255 or source.mode.startswith("I;16") else values
    return Image.fromarray(np.clip(np.rint(scaled), 0, 255).astype(np.uint8))


def _through_profile(image: Image.Image, profile: bytes) -> Image.Image:
    """sRGB by the embedded profile; one that does not fit the pixels is ignored, as viewers do."""
    try:
        converted = ImageCms.profileToProfile(
            image, ImageCms.ImageCmsProfile(io.BytesIO(profile)), _SRGB, outputMode="RGB"
        )
    except (ImageCms.PyCMSError, OSError, ValueError):
        return image.convert("RGB")
    return converted if converted is not None else image.convert("RGB")


def _is_srgb(profile: bytes) -> bool:
    """Whether the profile calls itself sRGB: its description tag stands in plain or UTF-16 text."""
    return b"sRGB" in profile or "sRGB".encode("utf-16-be") in profile


def _exif_json(exif: Image.Exif) -> str | None:
    """The tags by name as JSON, values as short texts; None where there are none."""
    tags = {
        ExifTags.TAGS.get(tag, f"0x{tag:04x}"): str(value)[:_MAX_EXIF_CHARS]
        for tag, value in exif.items()
        if not isinstance(value, bytes)
    }
    return json.dumps(tags, sort_keys=True, ensure_ascii=True) if tags else None
