"""Ray's Jobs API over HTTP, asynchronous, without Ray: the five calls that are needed.

Source: Ray 2.60, `dashboard/modules/job/job_head.py`.
"""

import json
from collections.abc import AsyncIterator
from typing import Any, Self

import aiohttp

from airflow_ray.endpoint import RayEndpoint
from airflow_ray.errors import RayRefusedError, RayUnreachableError
from airflow_ray.job import JobStatus, Plan, RayJob

REQUEST_TIMEOUT_S = 20.0
LOG_HEARTBEAT_S = 30.0
MAX_ERROR_CHARS = 2000


class RayJobsClient:
    """A session with one Jobs API; use it as `async with RayJobsClient(endpoint) as client`."""

    def __init__(self, endpoint: RayEndpoint, *, request_timeout_s: float = REQUEST_TIMEOUT_S) -> None:
        """Take the time one request may take; following a log is not limited."""
        self.endpoint = endpoint
        self._timeout = aiohttp.ClientTimeout(total=request_timeout_s)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        """Open the session."""
        self._session = aiohttp.ClientSession(headers=dict(self.endpoint.headers))
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Close the session."""
        if self._session:
            await self._session.close()

    async def find(self, submission_id: str) -> RayJob | None:
        """Return the job, or None where Ray knows no such id.

        Raises RayUnreachableError or RayRefusedError, as every call here.
        """
        status, text = await self._request("GET", f"/api/jobs/{submission_id}")
        if status == 404 and "does not exist" in text:
            return None
        details = _parse(_checked(status, text))
        return RayJob(
            submission_id=submission_id,
            status=JobStatus(details["status"]),
            message=details.get("message") or "",
            metadata=details.get("metadata") or {},
        )

    async def submit(self, submission_id: str, plan: Plan) -> bool:
        """Submit the job; return False where Ray already has one under this id, whoever submitted it."""
        body = {**plan.as_request(), "submission_id": submission_id}
        status, text = await self._request("POST", "/api/jobs/", body)
        if status == 200:
            return True
        # The head wraps the agent's answer, so "already exists" arrives as a 500: the record decides, not the words.
        if await self.find(submission_id) is not None:
            return False
        if "status code 400" in text:
            raise RayRefusedError(f"submit {submission_id}: {_shorten(text)}")
        _checked(status, text)
        raise RayUnreachableError(f"submit {submission_id}: HTTP {status}: {_shorten(text)}")

    async def stop(self, submission_id: str) -> bool:
        """Ask the job to stop; return False where there is nothing (more) to stop."""
        status, text = await self._request("POST", f"/api/jobs/{submission_id}/stop")
        if status == 404 and "does not exist" in text:
            return False
        return bool(_parse(_checked(status, text))["stopped"])

    async def follow_logs(self, submission_id: str) -> AsyncIterator[str]:
        """Yield the job's log from its beginning, in pieces, until the job has ended and all of it was read.

        Raises RayUnreachableError where the stream is cut before.
        """
        url = f"{self.endpoint.address}/api/jobs/{submission_id}/logs/tail"
        try:
            async with self._opened.ws_connect(url, heartbeat=LOG_HEARTBEAT_S, max_msg_size=0) as socket:
                async for message in socket:
                    if message.type is aiohttp.WSMsgType.TEXT:
                        yield message.data
                close_code = socket.close_code
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise RayUnreachableError(f"logs of {submission_id}: {type(error).__name__}") from error
        if close_code != aiohttp.WSCloseCode.OK:
            raise RayUnreachableError(f"logs of {submission_id}: closed with code {close_code}")

    @property
    def _opened(self) -> aiohttp.ClientSession:
        assert self._session is not None, "use the client inside `async with`"
        return self._session

    async def _request(self, method: str, path: str, body: dict[str, Any] | None = None) -> tuple[int, str]:
        url = f"{self.endpoint.address}{path}"
        try:
            # No redirects: they could carry the token to another host.
            async with self._opened.request(
                method, url, json=body, timeout=self._timeout, allow_redirects=False
            ) as answer:
                return answer.status, await answer.text()
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise RayUnreachableError(
                f"{method} {path} at {self.endpoint.address}: {type(error).__name__}: {error}"
            ) from error


def _checked(status: int, text: str) -> str:
    if status == 200:
        return text
    problem = f"HTTP {status}: {_shorten(text)}"
    if status in (401, 403):
        raise RayRefusedError(f"the Ray dashboard refused the token: {problem}")
    if 300 <= status < 500 and status not in (404, 408, 429):
        raise RayRefusedError(problem)
    # A 404 that does not name a job comes from a proxy whose Ray is away, not from Ray.
    raise RayUnreachableError(problem)


def _parse(text: str) -> dict[str, Any]:
    try:
        parsed: dict[str, Any] = json.loads(text)
    except ValueError as error:
        raise RayUnreachableError(f"expected JSON from the Jobs API, got {_shorten(text)!r}") from error
    return parsed


def _shorten(text: str) -> str:
    return text.strip()[-MAX_ERROR_CHARS:]
