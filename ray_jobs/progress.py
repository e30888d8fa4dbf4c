"""Progress that a person, a log and the demo's display can all read: one line a step, at most every half second."""

import json
import sys
import time

PREFIX = "PANGU_PROGRESS "
RESULT_PREFIX = "PANGU_RESULT "


class Progress:
    """Counts done of total for one job."""

    def __init__(self, job: str, every_s: float = 0.5) -> None:
        """Write lines for ``job``, at most one in ``every_s`` seconds but always the last."""
        self.job, self.every_s = job, every_s
        self.last = 0.0
        self.rows_are = "rows"
        """What the rows of this job are called in its lines, such as images."""
        self.began: tuple[float, int] | None = None

    def report(self, done: int, total: int, unit: str, **more: float) -> None:
        """Say that ``done`` of ``total`` units are finished; ``more`` are figures such as a loss."""
        moment = time.monotonic()
        self.began = self.began or (moment, done)
        if done < total and moment - self.last < self.every_s:
            return
        self.last = moment
        more = self._with_speed(moment, done, total, more)
        line = {
            "job": self.job,
            "done": done,
            "total": total,
            "unit": unit,
            **{k: round(v, 5) for k, v in more.items()},
        }
        sys.stdout.write(PREFIX + json.dumps(line) + "\n")
        sys.stdout.flush()

    def _with_speed(self, moment: float, done: int, total: int, more: dict[str, float]) -> dict[str, float]:
        """Where rows are counted: how many a second since this run began, and the seconds still to go at that pace."""
        assert self.began is not None
        elapsed, done_here = moment - self.began[0], done - self.began[1]
        if "rows" not in more or elapsed <= 0 or done_here <= 0:
            return more
        rows = more["rows"]
        rest = {name: value for name, value in more.items() if name != "rows"}
        eta_s = (total - done) * elapsed / done_here
        return {**rest, self.rows_are: rows, f"{self.rows_are}_per_s": rows / elapsed, "eta_s": eta_s}


def read_last(log: str) -> dict[str, object] | None:
    """The newest progress line of a log, or None."""
    at = log.rfind(PREFIX)
    if at < 0:
        return None
    try:
        found: dict[str, object] = json.loads(log[at + len(PREFIX) :].split("\n", 1)[0])
    except json.JSONDecodeError:
        return None
    return found
