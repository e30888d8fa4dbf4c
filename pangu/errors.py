"""Failures of the model library.

PanguError
|-- DeviceError        the device that was asked for cannot be used here
|-- CheckpointError    no checkpoint can be loaded, or it belongs to another model
|-- ExpertMismatchError  the two experts of a pipeline do not belong together
`-- RowMemoryError     some rows do not fit in memory even alone
A bad setting is a `ValueError` where it is read, not one of these.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pangu.generation_request import GeneratedImage


class PanguError(Exception):
    """Any failure of this library that is not a bad setting."""


class DeviceError(PanguError):
    """The device that was asked for cannot be used on this host."""


class CheckpointError(PanguError):
    """A checkpoint is torn, missing, or belongs to another model."""


class ExpertMismatchError(PanguError):
    """Two experts do not tile the time axis, or disagree about buckets, prediction type or networks."""


class RowMemoryError(PanguError):
    """Memory ran out for single rows of a generation; the other rows were made all the same.

    keys: of the rows that do not fit. made: the images of all other rows, in the order of the requests.
    """

    def __init__(self, keys: Sequence[str], made: "Sequence[GeneratedImage]") -> None:
        """Hold which rows failed, and what need not be made again."""
        super().__init__(f"out of memory: {', '.join(keys)} cannot run even in a batch of one")
        self.keys = tuple(keys)
        self.made = list(made)
