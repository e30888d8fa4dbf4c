"""Finds pictures that another picture already stands for: the same bytes, then the same look."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

from pydantic import BaseModel, ConfigDict, Field

from curation.fingerprint import colour_distance
from curation.rejection import Rejection

_HASH_BITS = 64


class DuplicateSettings(BaseModel):
    """When two pictures look the same: their hashes differ in at most `max_distance` of 64 bits (None: never), and
    their colour layouts in at most `max_colour_distance` levels of 255 in every cell.

    The hash alone would take a red ball for a blue one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_distance: int | None = Field(default=4, ge=0, le=16)
    max_colour_distance: int = Field(default=24, ge=0, le=255)


@dataclass(frozen=True)
class Picture:
    """What is compared (hashes of bytes, hash of the look, colour layout), and what decides who stays.

    `perceptual_hash` is 16 hex digits, `colour_layout` 192 bytes; without the first a picture has no look-alike,
    without the second its colours are not compared.
    """

    key: str
    byte_hashes: tuple[str, ...]
    perceptual_hash: str | None
    area_px: int
    aesthetic: float
    colour_layout: bytes | None = None


@dataclass(frozen=True)
class Duplicate:
    """Why a picture leaves, and the key of the one that stays for it."""

    reason: Rejection
    kept_key: str


def find_duplicates(pictures: Iterable[Picture], settings: DuplicateSettings | None = None) -> dict[str, Duplicate]:
    """The pictures that leave, by key; the same for any order of the input.

    They are taken best first: largest area, then highest aesthetic score, then smallest key. One leaves when a better
    one that *stays* has the same bytes or look, so a chain of small changes does not carry far.
    """
    settings = settings or DuplicateSettings()
    kept_by_bytes: dict[str, str] = {}
    kept_by_look = (
        _NearIndex(settings.max_distance, settings.max_colour_distance) if settings.max_distance is not None else None
    )
    duplicates: dict[str, Duplicate] = {}
    for picture in sorted(pictures, key=lambda one: (-one.area_px, -one.aesthetic, one.key)):
        same_bytes = next((kept_by_bytes[value] for value in picture.byte_hashes if value in kept_by_bytes), None)
        if same_bytes is not None:
            duplicates[picture.key] = Duplicate(Rejection.DUPLICATE_EXACT, same_bytes)
            continue
        if kept_by_look is not None and picture.perceptual_hash is not None:
            look = int(picture.perceptual_hash, 16)
            near = kept_by_look.find(look, picture.colour_layout)
            if near is not None:
                duplicates[picture.key] = Duplicate(Rejection.DUPLICATE_PERCEPTUAL, near)
                continue
            kept_by_look.add(look, picture.colour_layout, picture.key)
        kept_by_bytes.update(dict.fromkeys(picture.byte_hashes, picture.key))
    return duplicates


class _NearIndex:
    """Hashes by bands: of d + 1 bands, two hashes that differ in d bits agree in one, so only those are compared."""

    def __init__(self, max_distance: int, max_colour_distance: int) -> None:
        self._max_distance, self._max_colour_distance = max_distance, max_colour_distance
        edges = [_HASH_BITS * band // (max_distance + 1) for band in range(max_distance + 2)]
        self._bands = [(low, (1 << high - low) - 1) for low, high in pairwise(edges)]
        self._entries: dict[tuple[int, int], list[tuple[int, bytes | None, str]]] = defaultdict(list)

    def add(self, look: int, colours: bytes | None, key: str) -> None:
        for band in self._bands_of(look):
            self._entries[band].append((look, colours, key))

    def find(self, look: int, colours: bytes | None) -> str | None:
        """Key of the nearest hash within the distance; of equally near ones the smallest key."""
        best: tuple[int, str] | None = None
        for band in self._bands_of(look):
            for other, other_colours, key in self._entries.get(band, ()):
                distance = (look ^ other).bit_count()
                is_nearer = distance <= self._max_distance and (best is None or (distance, key) < best)
                if is_nearer and self._are_colours_near(colours, other_colours):
                    best = (distance, key)
        return best[1] if best else None

    def _are_colours_near(self, one: bytes | None, other: bytes | None) -> bool:
        return one is None or other is None or colour_distance(one, other) <= self._max_colour_distance

    def _bands_of(self, look: int) -> Iterator[tuple[int, int]]:
        for number, (shift, mask) in enumerate(self._bands):
            yield number, look >> shift & mask
