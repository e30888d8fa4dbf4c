"""What may block a generated picture: anything that looks at pictures and gives scores and, where it blocks, a reason."""

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:  # torch is not needed to mark a file
    from pangu.autoencoder import UInt8Images


@dataclass(frozen=True)
class Verdict:
    """Of one picture. scores: by class name. blocked: why the picture must not be stored, or None."""

    scores: Mapping[str, float] = field(default_factory=dict)
    blocked: str | None = None


class OutputFilter(Protocol):
    """A classifier that may block. name: model and weights' digest, as manifests record it."""

    name: str

    def __call__(self, images: "Sequence[UInt8Images]") -> list[Verdict]:
        """One verdict an image, in order; images are (H, W, 3) uint8 RGB."""
        ...


def load_filter(factory: str, weights: Path | None, thresholds: Mapping[str, float]) -> OutputFilter:
    """The filter that `module:name(weights, thresholds)` makes.

    Raises:
        ValueError: there is no such factory; or whatever it says of its weights and thresholds.
    """
    module, colon, name = factory.partition(":")
    if not colon:
        raise ValueError(f"output_filter.factory = {factory!r}: accepted is module:name")
    try:
        make = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"output_filter.factory = {factory!r} is not there: {error}") from None
    made: OutputFilter = make(weights, thresholds)
    return made
