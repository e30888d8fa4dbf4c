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

    def report(self, done: int, total: int, unit: str, **more: float) -> None:
        """Say that ``done`` of ``total`` units are finished; ``more`` are figures such as a loss."""
        moment = time.monotonic()
        if done < total and moment - self.last < self.every_s:
            return
        self.last = moment
        line = {
            "job": self.job,
            "done": done,
            "total": total,
            "unit": unit,
            **{k: round(v, 5) for k, v in more.items()},
        }
        sys.stdout.write(PREFIX + json.dumps(line) + "\n")
        sys.stdout.flush()


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
