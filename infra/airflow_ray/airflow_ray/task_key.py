"""Who asks: the running task instance, as far as its job depends on it."""

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Self

from airflow_ray.job import TRY_NUMBER_KEY
from airflow_ray.submission_id import submission_id

if TYPE_CHECKING:
    from airflow.sdk import Context


@dataclass(frozen=True, kw_only=True)
class TaskKey:
    """Names one task instance; with these fields Airflow finds its XComs. map_index is -1 for an unmapped task."""

    dag_id: str
    run_id: str
    task_id: str
    map_index: int = -1

    def as_fields(self) -> dict[str, Any]:
        """Return the four fields by name."""
        return asdict(self)

    def submission_id(self, generation: int) -> str:
        """Return the id of this task instance's job of one generation."""
        return submission_id(**self.as_fields(), generation=generation)


@dataclass(frozen=True, kw_only=True)
class TaskAttempt:
    """One attempt of a task instance: `cleared_try` as in `attempts.last_cleared_try`."""

    key: TaskKey
    try_number: int
    max_tries: int
    start_date: datetime
    """When the attempt began; coming back from deferral does not change it."""

    @classmethod
    def from_context(cls, context: "Context") -> Self:
        """Return the attempt that is running."""
        ti: Any = context["ti"]
        map_index = -1 if ti.map_index is None else ti.map_index
        return cls(
            key=TaskKey(dag_id=ti.dag_id, run_id=ti.run_id, task_id=ti.task_id, map_index=map_index),
            try_number=ti.try_number,
            max_tries=ti.max_tries,
            start_date=ti.start_date,
        )

    def as_metadata(self) -> dict[str, str]:
        """Return what a job's metadata says about who submitted it."""
        return {
            "airflow_dag_id": self.key.dag_id,
            "airflow_run_id": self.key.run_id,
            "airflow_task_id": self.key.task_id,
            "airflow_map_index": str(self.key.map_index),
            TRY_NUMBER_KEY: str(self.try_number),
        }
