"""The errors this package raises: a tree of one root.

    CurationError
    |-- PictureError         one picture cannot be used; carries the Rejection, and becomes a row
    |-- ConservationError    records went in that neither came out nor left with a reason
    `-- ScorerError          a model or head on disk is not what it must be

A wrong request or setting is a plain `ValueError`.
"""

from curation.rejection import Rejection


class CurationError(Exception):
    """Root of this package's errors."""


class PictureError(CurationError):
    """One picture cannot be used: `reason` says which kind, the message says what was seen."""

    def __init__(self, reason: Rejection, message: str) -> None:
        """`message` becomes the row's `error_message`."""
        super().__init__(message)
        self.reason = reason


class ConservationError(CurationError):
    """A stage's records do not add up."""


class ScorerError(CurationError, ValueError):
    """A model or head cannot be used as asked; a ValueError too, since the user named it."""
