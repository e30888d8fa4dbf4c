"""Failures of the model library.

PanguError
|-- DeviceError        the device that was asked for cannot be used here
|-- CheckpointError    no checkpoint can be loaded, or it belongs to another model
`-- ExpertMismatchError  the two experts of a pipeline do not belong together
A bad setting is a `ValueError` where it is read, not one of these.
"""


class PanguError(Exception):
    """Any failure of this library that is not a bad setting."""


class DeviceError(PanguError):
    """The device that was asked for cannot be used on this host."""


class CheckpointError(PanguError):
    """A checkpoint is torn, missing, or belongs to another model."""


class ExpertMismatchError(PanguError):
    """Two experts do not tile the time axis, or disagree about buckets, prediction type or networks."""
