"""What a job of the platform may fail with.

    JobError                 a job could not do what it was asked
    +-- StoreError           the artifact store
    |   +-- AlreadyStored    a create-only put found the name taken
    |   +-- StoreUnreachable no answer, or no permission
    |   +-- UnsafeStore      the store ignores conditional puts
    |   +-- UnknownVersion   no such artifact, version or alias
    |   +-- BeingRemoved     garbage collection has taken it; a retry finds it gone, and makes it anew
    +-- PlatformError        the local platform (ports, processes)

A bad request or configuration is a ``ValueError``; a bad record is a row with a reason.
"""


class JobError(Exception):
    """A job failed; the message says what was being done."""


class StoreError(JobError):
    """The artifact store could not do what was asked."""


class AlreadyStored(StoreError):
    """A create-only put found the name already taken."""


class StoreUnreachable(StoreError):
    """The store gives no answer or no permission."""


class UnsafeStore(StoreError):
    """The store overwrites where it was asked to create only."""


class UnknownVersion(StoreError):
    """No such artifact, version or alias."""


class BeingRemoved(StoreError):
    """Garbage collection is removing what was asked for, or has just done so; a retry finds it gone."""


class PlatformError(JobError):
    """The local platform could not be started, reached or stopped."""
