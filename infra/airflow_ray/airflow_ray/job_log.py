"""Job output turned into whole lines, each given out once even when its reader is replaced."""

import asyncio
from collections.abc import Awaitable, Callable

from airflow_ray.errors import RayUnreachableError
from airflow_ray.jobs_client import RayJobsClient

FLUSH_INTERVAL_S = 1.0
MAX_LINE_CHARS = 16_384

LoadPosition = Callable[[], Awaitable[int]]
SavePosition = Callable[[int], Awaitable[None]]


class JobLog:
    """Copies a job's output to `write`, line by line, and remembers how far it came.

    The Jobs API always sends the output from its beginning. `position` counts the characters of the lines already
    written; `load` and `save` keep it where a successor finds it. Lines are written and the position saved right after
    one another, at most once per FLUSH_INTERVAL_S, so that only a kill between the two repeats lines.
    """

    def __init__(
        self,
        write: Callable[[str], None],
        *,
        load: LoadPosition | None = None,
        save: SavePosition | None = None,
        result_prefix: str | None = None,
    ) -> None:
        """Without load and save the log is copied from its beginning and the position kept by this object alone."""
        self._write = write
        self._load = load
        self._save = save
        self._result_prefix = result_prefix
        self._position: int | None = None
        self._seen = 0
        self._waiting: list[str] = []
        self.result_line: str | None = None

    async def follow(self, client: RayJobsClient, submission_id: str) -> bool:
        """Copy until the job has ended and return True, or until the stream is cut and return False: call again then."""
        if self._position is None:
            self._position = await self._load() if self._load else 0
        self._seen, self._waiting = 0, []
        flusher = asyncio.create_task(self._flush_regularly())
        rest = ""
        try:
            async for piece in client.follow_logs(submission_id):
                *lines, rest = (rest + piece).split("\n")
                for line in lines:
                    self._take(line, len(line) + 1)
            if rest:
                self._take(rest, len(rest))
        except RayUnreachableError:
            return False  # The poll loop beside this one notices, tolerates and reports it.
        finally:
            flusher.cancel()
            await self._flush()
        return True

    def _take(self, line: str, num_chars: int) -> None:
        self._seen += num_chars
        if self._result_prefix and line.startswith(self._result_prefix):
            self.result_line = line.removeprefix(self._result_prefix).strip()
        if self._position is not None and self._seen > self._position:
            self._waiting.append(line)

    async def _flush_regularly(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_INTERVAL_S)
            await self._flush()

    async def _flush(self) -> None:
        if not self._waiting:
            return
        lines, self._waiting, self._position = self._waiting, [], self._seen
        for line in lines:
            self._write(line[:MAX_LINE_CHARS])
        if self._save:
            await self._save(self._seen)
