"""Named places where a test may kill the process, so that every commit step is proved to survive it.

``PANGU_KILL_POINT=name`` or ``name:n`` ends the process with SIGKILL the n-th time that point is reached. Within one process
a test may watch the points (`watched`): what it raises there ends the work, what it does there happens in between.
"""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

KILL_POINTS = (
    "claim.after_create",
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
    "gc.after_lease",
    "gc.after_census",
    "gc.after_marks",
    "gc.after_look",
    "gc.after_notice",
    "gc.after_manifest",
    "gc.after_files",
    "gc.after_unmark",
)
_reached: dict[str, int] = {}
_watchers: list[Callable[[str], None]] = []


@contextmanager
def watched(watcher: Callable[[str], None]) -> Iterator[None]:
    """Tell a test of every point that this process reaches, in the thread that reaches it."""
    _watchers.append(watcher)
    try:
        yield
    finally:
        _watchers.remove(watcher)


def kill_point(name: str) -> None:
    """Die here when the environment asks for it; otherwise nothing."""
    assert name in KILL_POINTS, f"unregistered kill point {name}"
    for watcher in tuple(_watchers):
        watcher(name)
    wanted = os.environ.get("PANGU_KILL_POINT")
    if not wanted:
        return
    target, _, count = wanted.partition(":")
    if target != name:
        return
    _reached[name] = _reached.get(name, 0) + 1
    if _reached[name] >= int(count or 1):
        os.kill(os.getpid(), signal.SIGKILL)
