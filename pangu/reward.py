"""What rewards a candidate picture in RAFT: anything that gives one number a picture, more being better."""

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:  # torch is not needed to name a reward
    from pangu.autoencoder import UInt8Images


@dataclass(frozen=True)
class Candidate:
    """One expansion. prompt: the original, which a reward of agreement is to read, never the expansion."""

    prompt: str
    text: str
    language: str
    attributes: str | None = None


class Reward(Protocol):
    """One term."""

    def __call__(self, images: "Sequence[UInt8Images]", candidates: Sequence[Candidate]) -> NDArray[np.float64]:
        """(N,) scores of images (H, W, 3) uint8 RGB; a row's score depends on that row alone."""
        ...


def load_reward(factory: str) -> Reward:
    """The reward that `module:name()` makes.

    Raises:
        ValueError: there is no such factory.
    """
    module, colon, name = factory.partition(":")
    if not colon:
        raise ValueError(f"rewards: {factory!r} is no factory; accepted is module:name")
    try:
        make = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"rewards: {factory!r} is not there: {error}") from None
    made: Reward = make()
    return made
