"""What identifies a picture: the hash of its bytes, and a 64-bit hash of how it looks."""

import hashlib

import imagehash
from PIL import Image

_HASH_SIDE = 8
_REDUCED_SIDE_PX = 64


def sha256_hex(data: bytes) -> str:
    """SHA-256 as 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def perceptual_hash(image: Image.Image) -> str:
    """DCT hash of the luma as 16 hexadecimal digits; near pictures differ in few bits. Source: phash.org."""
    factor = min(image.size) // _REDUCED_SIDE_PX
    small = image.reduce(factor) if factor > 1 else image  # the hash looks at 32x32: spare it the full resize
    return str(imagehash.phash(small, hash_size=_HASH_SIDE))


def hamming_distance(first: str, second: str) -> int:
    """Number of bits in which two hashes of equal length differ."""
    return (int(first, 16) ^ int(second, 16)).bit_count()
