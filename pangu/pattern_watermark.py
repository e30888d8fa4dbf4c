"""A watermark that says one thing, that a model made the picture: a faint keyed pattern, found by correlation.

The pattern is a tile of T x T pixels, repeated: all waves of the band with equal amplitude and phases drawn from the key. It
is added to R, G and B alike, more where the picture is busy. The detector flattens the picture, folds it onto one tile,
keeps the phases of the band and correlates them with the key's at every shift; so a crop costs nothing but its pixels. A
resized picture is first brought back by the factors people resize by. The score is the highest correlation in standard
deviations over all shifts: for a picture without the mark the phases have nothing to do with the key's, whatever it shows.

The band is where JPEG quantises least and a thumbnail still has pixels.
Sources: Cox, Kilian, Leighton, Shamoon 1997 (spread spectrum); Kalker et al. 1999 (JAWS: tiling, search of shifts); Horner
and Gianino 1984 (phase-only correlation).
"""

import hashlib
import io
import math
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from PIL import Image

from pangu.provenance import MarkingError

if TYPE_CHECKING:  # torch is not needed to mark a file
    from pangu.autoencoder import UInt8Images

Floats = np.ndarray[Any, np.dtype[np.float32]]

TILE_PX = 128
BAND = (5, 20)
"""Waves per tile, shortest and longest radius: 6.4 to 25.6 pixels long."""

PSNRS_DB = (44.0, 42.0, 40.5)
"""What the mark costs: the first at which it is sure to be found after JPEG, else the last."""

SURE = 12.0
"""Score that the mark must have after JPEG of quality 75 to be left so faint."""

MOST_SIGMA = 3.0
"""Grey levels, standard deviation of the pattern where a picture is flat: reached only where much of it is clipped away."""

THRESHOLD = 7.0
"""Standard deviations; 16,384 shifts of Gaussian noise pass it once in 50 million pictures and scales."""

SCALES = (1.0, 3 / 4, 1 / 2, 2 / 3, 3 / 2, 4 / 3, 2.0)
"""Sizes, over that of the marked picture, at which the detector looks."""

MIN_SIDE_PX = TILE_PX
MIN_PIXELS = 256 * 256


class PatternWatermark:
    """Embeds and finds the pattern of one key."""

    def __init__(self, key: bytes = b"PGDR") -> None:
        """key: decides the phases; whoever has it can look for the mark, and copy it."""
        self._tile, self._spectrum = make_tile(key)
        self.name = f"pattern {hashlib.sha256(key).hexdigest()[:8]}, tile {TILE_PX}, waves {BAND[0]} to {BAND[1]}"

    def embed(self, image: "UInt8Images") -> "UInt8Images":
        """(H, W, 3) uint8 in and out, one of `PSNRS_DB` apart or less.

        Raises:
            MarkingError: the picture is too small.
        """
        height, width = image.shape[:2]
        if height * width < MIN_PIXELS or min(height, width) < MIN_SIDE_PX:
            raise MarkingError(f"watermark: a picture of {width}x{height} is below 256x256 pixels")
        luma = to_luma(image)
        busy = local_activity(luma)
        added = np.tile(self._tile, (-(-height // TILE_PX), -(-width // TILE_PX)))[:height, :width] * busy
        marked = image
        for psnr_db in PSNRS_DB:
            marked = add_pattern(image, added, psnr_db, most=MOST_SIGMA / float(busy.min()))
            if self.score(_through_jpeg(cv2.cvtColor(marked, cv2.COLOR_RGB2GRAY))) >= SURE:
                break
        return marked

    def is_found(self, image: "UInt8Images") -> bool:
        """Whether the mark is in an (H, W, 3) uint8 picture, as it was or at one of `SCALES`."""
        luma = to_luma(image)
        return any(self.score(luma, scale) >= THRESHOLD for scale in SCALES)

    def score(self, luma: Floats, scale: float = 1.0) -> float:
        """Standard deviations by which the best shift stands out. luma: (H, W); scale: its size over the marked one's."""
        if scale != 1.0:
            height, width = luma.shape
            size = (max(1, round(width / scale)), max(1, round(height / scale)))
            luma = np.asarray(Image.fromarray(luma).resize(size, Image.Resampling.BICUBIC))
        folded = fold(flatten(luma))
        waves = np.fft.fft2(folded) * (self._spectrum != 0)
        size = np.abs(waves)
        if size.max() < 1e-3:  # nothing but one grey
            return 0.0
        phases = waves / np.maximum(size, 1e-6 * size.max())
        correlation = np.fft.ifft2(phases * np.conj(self._spectrum)).real
        return float(correlation.max() / correlation.std())


def make_tile(key: bytes) -> tuple[Floats, np.ndarray[Any, np.dtype[np.complex128]]]:
    """The pattern (T, T) of mean 0 and variance 1, and its spectrum (T, T): modulus 1 in the band, 0 elsewhere."""
    drawn = np.frombuffer(hashlib.shake_256(key).digest(2 * TILE_PX**2), "<u2").reshape(TILE_PX, TILE_PX)
    waves = np.exp(2j * np.pi * drawn / 2**16)
    along = np.fft.fftfreq(TILE_PX, 1 / TILE_PX)
    radius = np.hypot(along[:, None], along[None, :])
    waves = np.where((radius >= BAND[0]) & (radius <= BAND[1]), waves, 0)
    waves = waves + np.conj(np.roll(waves[::-1, ::-1], (1, 1), (0, 1)))  # of a real pattern
    size = np.abs(waves)
    spectrum = np.where(size > 0, waves / np.where(size > 0, size, 1), 0)
    tile = np.fft.ifft2(spectrum).real
    return (tile / tile.std()).astype(np.float32), spectrum


def to_luma(image: "UInt8Images") -> Floats:
    """(H, W, 3) uint8 to (H, W) float32, 0 to 255 (ITU-R BT.601)."""
    return image.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)


def local_activity(luma: Floats) -> Floats:
    """(H, W), 0.55 where a picture is flat to 2 where it is busiest: how much of the mark hides there."""
    busy = _spread(_detail(luma, 7), 15)
    busy /= 12
    np.minimum(busy, 1.45, out=busy)
    busy += 0.55
    return busy


def flatten(luma: Floats) -> Floats:
    """(H, W): without what changes slowly, edges no stronger than texture."""
    detail = _detail(luma, 13)
    flat: Floats = detail / (_spread(detail, 25) + 1.5)
    return flat


def _detail(luma: Floats, window_px: int) -> Floats:
    """What of a picture (H, W) its mean over a square does not say."""
    detail: Floats = luma - cv2.blur(luma, (window_px, window_px), borderType=cv2.BORDER_REFLECT)
    return detail


def _spread(detail: Floats, window_px: int) -> Floats:
    """Root mean square of (H, W) over a square."""
    squares: Any = cv2.sqrBoxFilter(detail, -1, (window_px, window_px), borderType=cv2.BORDER_REFLECT)
    np.maximum(squares, 0, out=squares)
    spread: Floats = np.sqrt(squares, out=squares)
    return spread


def fold(picture: Floats) -> Floats:
    """(H, W) to (T, T): the sum over all tiles, those at the edge filled with 0."""
    rows, columns = (-(-side // TILE_PX) for side in picture.shape)
    padded = np.zeros((rows * TILE_PX, columns * TILE_PX), np.float32)
    padded[: picture.shape[0], : picture.shape[1]] = picture
    folded: Floats = padded.reshape(rows, TILE_PX, columns, TILE_PX).sum((0, 2))
    return folded


def add_pattern(image: "UInt8Images", pattern: Floats, psnr_db: float, most: float) -> "UInt8Images":
    """The picture with the pattern (H, W), as strong as leaves this PSNR, though never above `most`."""
    allowed = 255**2 / 10 ** (psnr_db / 10) - 1 / 12  # rounding takes its share
    strength = min(most, math.sqrt(allowed / float(np.square(pattern).mean())))
    marked = _add(image, pattern * strength)
    spent = cv2.norm(marked, image, cv2.NORM_L2SQR) / image.size
    if spent < 0.9 * allowed:  # much was clipped, at white or black: the rest of the picture may take more
        strength = min(most, strength * math.sqrt(allowed / max(spent, 1e-3)))
        marked = _add(image, pattern * strength)
    return marked


def _add(image: "UInt8Images", pattern: Floats) -> "UInt8Images":
    """The picture with the pattern (H, W) rounded, clipped at black and white."""
    middle: Any = 128
    shifted = cv2.add(pattern, middle, dtype=cv2.CV_8U)
    up, down = cv2.subtract(shifted, middle), cv2.subtract(middle, shifted)
    return cv2.subtract(cv2.add(image, cv2.merge([up] * 3)), cv2.merge([down] * 3)).astype(np.uint8, copy=False)


def _through_jpeg(grey: np.ndarray[Any, Any]) -> Floats:
    """(H, W) uint8 as a grey JPEG of quality 75 gives it back."""
    file = io.BytesIO()
    Image.fromarray(grey).save(file, "JPEG", quality=75)
    return np.asarray(Image.open(file)).astype(np.float32)
