"""How a set of images was made and read: what must be equal before two numbers may stand beside each other."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # comparing cards needs no networks
    from pangu.evaluation.features import ExtractorCard

NO_MARKS = "none"
# A generated set against its reference: the same network, reading in the same way.
READ_ALIKE = ("extractor", "fingerprint", "resize_mode")
# One run against another: everything but the pictures themselves.
RUN_ALIKE = (*READ_ALIKE, "image_format", "num_images", "seed", "marks")


@dataclass(frozen=True)
class SetCard:
    """What is recorded with every set. image_format: with its quality ("png", "jpeg-95"), since it moves an FID.

    num_images: as many as were asked for, since a Frechet distance depends on it. seed: the run seed of generated
    images, or the one that drew the reference. marks: what was embedded ("none", or the marks' names), read as found.
    content: `content_hash` of the pictures, or the version of the prompts that they were made from.
    """

    extractor: str
    fingerprint: str
    resize_mode: str
    image_format: str
    num_images: int
    seed: int
    marks: str = NO_MARKS
    content: str = ""


def set_card(
    card: "ExtractorCard", *, image_format: str, num_images: int, seed: int, marks: str = NO_MARKS, content: str = ""
) -> SetCard:
    """Return the card of a set read by this extractor."""
    return SetCard(card.name, card.fingerprint, card.resize_mode, image_format, num_images, seed, marks, content)


def differing_fields(one: SetCard, other: SetCard, among: Sequence[str] = RUN_ALIKE) -> tuple[str, ...]:
    """Return the names of the fields in which two cards differ, in the order of the card."""
    names = [field.name for field in fields(SetCard) if field.name in among]
    return tuple(name for name in names if getattr(one, name) != getattr(other, name))


def check_comparable(one: SetCard, other: SetCard, among: Sequence[str] = RUN_ALIKE) -> None:
    """Refuse two sets that differ in how they were made or read, naming each field and both values."""
    unlike = differing_fields(one, other, among)
    if unlike:
        received = "; ".join(f"{name}: received {getattr(other, name)!r}" for name in unlike)
        accepted = ", ".join(f"{name} = {getattr(one, name)!r}" for name in unlike)
        raise ValueError(f"{received}; accepted for a comparison: {accepted}")


def content_hash(pictures: Iterable[tuple[str, str]]) -> str:
    """Return the sha256 of a set of (key, sha256 of the encoded picture), whatever their order."""
    digest = hashlib.sha256()
    for key, picture in sorted(pictures):
        digest.update(f"{len(key)}:{key}{len(picture)}:{picture};".encode())
    return digest.hexdigest()
