"""Thumbnails beside the pages: every picture is decoded and written anew, named by its content."""

import hashlib
import io
import warnings
from pathlib import Path

from PIL import Image, UnidentifiedImageError

MAX_SIDE_PX = 320
_MAX_PIXELS = 64_000_000


class Thumbnails:
    """Writes WebP thumbnails into one folder, each once."""

    def __init__(self, folder: Path) -> None:
        """Make the folder; `folder.name` is the path that pages refer to."""
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._written: dict[str, tuple[str, int, int] | None] = {}

    def add(self, image: bytes) -> tuple[str, int, int] | None:
        """Return (path relative to the site, width, height), or None for bytes that are no picture."""
        key = hashlib.sha256(image).hexdigest()
        if key not in self._written:
            self._written[key] = self._write(key, image)
        return self._written[key]

    def _write(self, key: str, image: bytes) -> tuple[str, int, int] | None:
        """Decode, shrink and save; nothing of the original file but its pixels reaches the site."""
        try:
            with warnings.catch_warnings():
                # Pillow's own limit only warns; the check below refuses.
                warnings.simplefilter("ignore", Image.DecompressionBombWarning)
                opened = Image.open(io.BytesIO(image), formats=("JPEG", "PNG", "WEBP"))
            if opened.width * opened.height > _MAX_PIXELS:
                return None
            pixels = opened.convert("RGB")
        except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError):
            return None  # A picture that cannot be shown is a gap in a grid, never a page that is not built.
        pixels.thumbnail((MAX_SIDE_PX, MAX_SIDE_PX), Image.Resampling.LANCZOS)
        clean = Image.new("RGB", pixels.size)
        clean.paste(pixels)
        name = f"{key[:24]}.webp"
        clean.save(self._folder / name, "WEBP", quality=88, method=4)
        return f"{self._folder.name}/{name}", clean.width, clean.height
