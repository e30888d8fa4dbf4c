"""Named places where a test may kill the process, so that every commit step is proved to survive it.

``PANGU_KILL_POINT=name`` or ``name:n`` ends the process with SIGKILL the n-th time that point is reached.
"""

import os
import signal

KILL_POINTS = (
    "plan.before_create",
    "plan.after_create",
    "part.after_begin",
    "part.before_create",
    "part.after_create",
    "part.after_summary",
    "files.before_create",
    "files.after_create",
    "model.before_create",
    "model.after_create",
    "manifest.before_create",
    "manifest.after_create",
    "log.after_append",
)
_reached: dict[str, int] = {}


def kill_point(name: str) -> None:
    """Die here when the environment asks for it; otherwise nothing."""
    assert name in KILL_POINTS, f"unregistered kill point {name}"
    wanted = os.environ.get("PANGU_KILL_POINT")
    if not wanted:
        return
    target, _, count = wanted.partition(":")
    if target != name:
        return
    _reached[name] = _reached.get(name, 0) + 1
    if _reached[name] >= int(count or 1):
        os.kill(os.getpid(), signal.SIGKILL)
