"""Everything this package raises while a task runs.

AirflowException
└── RayJobError            the task attempt fails and may be retried
    ├── RayUnreachableError    nobody answers at the address, or a proxy answers for it
    ├── RayRefusedError        the Jobs API said no: wrong token, invalid request
    ├── RayJobFailedError      the job ended FAILED or STOPPED, or its record vanished
    ├── RayJobTimeoutError     the job was stopped because its time was up
    └── RayResultError         the job succeeded but its result line is missing or unreadable
"""

from airflow.sdk.exceptions import AirflowException


class RayJobError(AirflowException):
    """A task attempt around a Ray job failed."""


class RayUnreachableError(RayJobError):
    """The Jobs API could not be reached; the job itself may well be running."""


class RayRefusedError(RayJobError):
    """The Jobs API answered and refused; asking again changes nothing."""


class RayJobFailedError(RayJobError):
    """The job ended without success."""


class RayJobTimeoutError(RayJobError):
    """The job outlived its timeout and was stopped."""


class RayResultError(RayJobError):
    """The job succeeded without a readable result line."""
