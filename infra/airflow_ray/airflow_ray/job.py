"""The values that pass between operator, trigger and Jobs API."""

from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Self

from pydantic import JsonValue

TRY_NUMBER_KEY = "airflow_try_number"


class JobStatus(StrEnum):
    """States of a Ray job, by Ray's own names, and the one that is ours: LOST."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    STOPPED = "STOPPED"
    LOST = "LOST"
    """Ray knew the job and now does not: its head was replaced or its record deleted."""

    @property
    def is_active(self) -> bool:
        """Whether the job may still change state."""
        return self in (JobStatus.PENDING, JobStatus.RUNNING)


@dataclass(frozen=True)
class RayJob:
    """What the Jobs API says about a submitted job."""

    submission_id: str
    status: JobStatus
    message: str = ""
    metadata: dict[str, str] = field(default_factory=dict)

    @property
    def try_number(self) -> int:
        """The Airflow attempt that submitted it; 0 for a job that does not say."""
        text = self.metadata.get(TRY_NUMBER_KEY, "")
        return int(text) if text.isdecimal() else 0


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A job to submit, with the Jobs API's own field names.

    Nothing in it is secret: Ray shows all of it on its dashboard, Airflow shows it with the task.
    """

    entrypoint: str
    runtime_env: dict[str, Any] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)
    entrypoint_num_cpus: float | None = None
    entrypoint_num_gpus: float | None = None
    entrypoint_memory: int | None = None
    entrypoint_resources: dict[str, float] | None = None

    def __post_init__(self) -> None:
        """Refuse what the Jobs API would refuse later, on another machine."""
        if not self.entrypoint.strip():
            raise ValueError(f"entrypoint: got {self.entrypoint!r}, expected a shell command")
        for name, value in self.metadata.items():
            if not isinstance(value, str):
                raise ValueError(f"metadata[{name!r}]: got {value!r}, expected a string")
        folders = [self.runtime_env.get("working_dir"), *(self.runtime_env.get("py_modules") or [])]
        for folder in folders:
            if folder is not None and "://" not in str(folder):
                raise ValueError(
                    f"runtime_env: got the local folder {str(folder)!r}, expected a URI that the cluster can fetch "
                    "(s3://, gs://, https://, gcs://)"
                )

    def as_request(self) -> dict[str, Any]:
        """Return the fields of `POST /api/jobs/`, without those left open."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    @classmethod
    def from_request(cls, request: dict[str, Any]) -> Self:
        """Return the plan that `as_request` was called on."""
        return cls(**request)


@dataclass(frozen=True, kw_only=True)
class Skip:
    """There is nothing to run: the task succeeds at once with `result`, firing asset events only if `is_changed`.

    is_changed: what is there already is news to whoever follows the assets (an older version is the newest again).
    To mark the task itself (and what follows it) skipped, raise AirflowSkipException instead.
    """

    reason: str
    result: JsonValue = None
    is_changed: bool = False


@dataclass(frozen=True, kw_only=True)
class JobOutcome:
    """How watching a job ended; JSON all through, since it travels as a trigger event."""

    submission_id: str
    status: JobStatus
    message: str = ""
    result_line: str | None = None
    """What stood after the result prefix on the last log line that had it."""
    is_adopted: bool = False
    """Whether an earlier attempt of the task had submitted the job."""
    is_timed_out: bool = False
    is_unreachable: bool = False

    def as_event(self) -> dict[str, Any]:
        """Return the payload of a trigger event."""
        return {**asdict(self), "status": str(self.status)}

    @classmethod
    def from_event(cls, event: dict[str, Any]) -> Self:
        """Return the outcome that `as_event` was called on."""
        return cls(**{**event, "status": JobStatus(event["status"])})
