"""What identifies a picture: the hash of its bytes, a 64-bit hash of how it looks, and where its colours are."""

import hashlib

import imagehash
from PIL import Image

_HASH_SIDE = 8
_GRID_SIDE = 8
_REDUCED_SIDE_PX = 64


def sha256_hex(data: bytes) -> str:
    """SHA-256 as 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def perceptual_hash(image: Image.Image) -> str:
    """DCT hash of the luma as 16 hexadecimal digits; near pictures differ in few bits. Source: phash.org."""
    factor = min(image.size) // _REDUCED_SIDE_PX
    small = image.reduce(factor) if factor > 1 else image  # the hash looks at 32x32: spare it the full resize
    return str(imagehash.phash(small, hash_size=_HASH_SIDE))


def colour_layout(image: Image.Image) -> bytes:
    """Mean colours of an 8x8 grid: 192 bytes, row by row, RGB. The DCT hash sees luma alone; this tells red from blue."""
    return image.resize((_GRID_SIDE, _GRID_SIDE), Image.Resampling.BOX).tobytes()


def colour_distance(first: bytes, second: bytes) -> int:
    """Largest difference of any cell in any channel, in levels of 255."""
    return max(abs(one - other) for one, other in zip(first, second, strict=True))


def hamming_distance(first: str, second: str) -> int:
    """Number of bits in which two hashes of equal length differ."""
    return (int(first, 16) ^ int(second, 16)).bit_count()
