"""The last line by which a job tells its result: `<prefix> {json}`."""

import json

from pydantic import JsonValue

from airflow_ray.errors import RayResultError
from airflow_ray.job import JobOutcome

RESULT_MAX_CHARS = 65_536


def parse_result(job: JobOutcome, prefix: str) -> JsonValue:
    """Return the result; raise RayResultError where it is missing, longer than RESULT_MAX_CHARS, or no JSON."""
    if job.result_line is None:
        raise RayResultError(f"Ray job {job.submission_id}: no log line begins with {prefix!r}")
    if len(job.result_line) > RESULT_MAX_CHARS:
        raise RayResultError(
            f"Ray job {job.submission_id}: the result line has {len(job.result_line)} characters, expected at most "
            f"{RESULT_MAX_CHARS}"
        )
    try:
        parsed: JsonValue = json.loads(job.result_line)
    except ValueError as error:
        raise RayResultError(f"Ray job {job.submission_id}: the result line is no JSON: {error}") from error
    return parsed
