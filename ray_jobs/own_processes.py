"""The processes of one local platform, found by their environment, or by session and folder where that is overwritten."""

import os
from pathlib import Path

import psutil

MARK = "PANGU_PLATFORM"


def own_processes(home: Path) -> dict[psutil.Process, str]:
    """Every live process of this platform, ourselves excepted, with the component it belongs to.

    Most carry the mark. A program that renames itself overwrites its environment: those are known by the session that
    they were started in and by their working folder.
    """
    mine, sessions = os.getpid(), read_sessions(home)
    found = {}
    for process in psutil.process_iter():
        if process.pid == mine:
            continue
        environment = environ_of(process)
        if environment.get(MARK) == str(home):
            found[process] = environment.get("PANGU_COMPONENT", "")
        elif not environment and (name := sessions.get(session_of(process))) is not None and works_in(process, home):
            found[process] = name
    return found


def read_sessions(home: Path) -> dict[int, str]:
    """Session id to component, for every component ever started under a home."""
    file = home / "sessions.txt"
    lines = file.read_text().splitlines() if file.exists() else []
    return {int(session): name for session, _, name in (line.partition(" ") for line in lines)}


def session_of(process: psutil.Process) -> int:
    """The process's session id; 0 where it is gone."""
    try:
        return os.getsid(process.pid)
    except OSError:
        return 0


def works_in(process: psutil.Process, home: Path) -> bool:
    """Whether the process's working folder is the platform's."""
    try:
        return Path(process.cwd()).is_relative_to(home)
    except psutil.Error:
        return False


def environ_of(process: psutil.Process) -> dict[str, str]:
    """A process's environment; empty where it is gone, not ours to read, or overwritten by a new title."""
    try:
        if process.status() == psutil.STATUS_ZOMBIE:
            return {}
        return process.environ()
    except (psutil.Error, OSError):
        return {}


def send_signal(process: psutil.Process, number: int) -> None:
    """Signal a process that may be gone."""
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return
