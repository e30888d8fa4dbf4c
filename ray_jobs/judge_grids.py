"""PNG grids of judged pictures: prompts with captions underneath, and a style's scales side by side."""

import shutil
import subprocess
import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

CELL_PX = 168
PICTURE_PX = 160
CAPTION_PX = 50
FONT_PX = 13
MARGIN_PX = 28

UInt8Image = NDArray[np.uint8]
Font = Any


def caption_font(size_px: int = FONT_PX) -> tuple[Font, bool]:
    """A font and whether it has Chinese characters: what fontconfig names for Chinese, else Pillow's own."""
    if shutil.which("fc-list"):
        listed = subprocess.run(
            ["fc-list", ":lang=zh-cn", "file"], capture_output=True, text=True, check=False, timeout=30
        ).stdout
        files = sorted(line.rstrip(": ") for line in listed.splitlines() if line)
        for path in sorted(files, key=lambda name: ("Regular" not in name, "Sans" not in name, name)):
            try:
                return ImageFont.truetype(path, size_px), True
            except OSError:
                continue
    return ImageFont.load_default(size_px), False


def _fitted(image: UInt8Image) -> Image.Image:
    """The picture enlarged without blur, as large as the cell allows."""
    scale = PICTURE_PX / max(image.shape[:2])
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    kind = Image.Resampling.BICUBIC if scale > 1 else Image.Resampling.BOX
    return Image.fromarray(image).resize(size, kind)


def _wrapped(text: str) -> str:
    """At most three lines that fit under a cell."""
    width = 12 if any(ord(letter) > 0x2E80 for letter in text) else 25
    lines = textwrap.wrap(text, width, break_long_words=True)
    return "\n".join(lines[:3])


def _paste(canvas: Image.Image, image: UInt8Image, left: int, top: int) -> None:
    fitted = _fitted(image)
    canvas.paste(fitted, (left + (CELL_PX - fitted.width) // 2, top + (CELL_PX - fitted.height) // 2))


def prompt_grid(images: Sequence[UInt8Image], captions: Sequence[str], *, columns: int = 8) -> Image.Image:
    """Pictures in rows of `columns`, each with its caption; a caption the font cannot show is the caller's to avoid."""
    font, _ = caption_font()
    rows = -(-len(images) // columns)
    cell_height = CELL_PX + CAPTION_PX
    canvas = Image.new("RGB", (columns * CELL_PX, rows * cell_height), (250, 250, 250))
    pen = ImageDraw.Draw(canvas)
    for place, (image, text) in enumerate(zip(images, captions, strict=True)):
        left, top = place % columns * CELL_PX, place // columns * cell_height
        _paste(canvas, image, left, top)
        pen.multiline_text((left + 6, top + CELL_PX - 2), _wrapped(text), fill=(30, 30, 30), font=font, spacing=2)
    return canvas


def sweep_grid(rows: Sequence[Sequence[UInt8Image]], captions: Sequence[str], headings: Sequence[str]) -> Image.Image:
    """One row a prompt, one column a heading; captions stand at the left."""
    font, _ = caption_font()
    canvas = Image.new("RGB", ((len(headings) + 1) * CELL_PX, len(rows) * CELL_PX + MARGIN_PX), (250, 250, 250))
    pen = ImageDraw.Draw(canvas)
    for column, heading in enumerate(headings):
        pen.text(((column + 1) * CELL_PX + 6, 6), heading, fill=(30, 30, 30), font=font)
    for line, (images, text) in enumerate(zip(rows, captions, strict=True)):
        top = MARGIN_PX + line * CELL_PX
        pen.multiline_text((6, top + CELL_PX // 3), _wrapped(text), fill=(30, 30, 30), font=font, spacing=2)
        for column, image in enumerate(images):
            _paste(canvas, image, (column + 1) * CELL_PX, top)
    return canvas
