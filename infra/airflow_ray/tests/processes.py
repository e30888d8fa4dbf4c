"""Process groups of our own, ended as groups: what a test starts, that test ends, and nothing else."""

import os
import signal
import socket
import subprocess
import time
from pathlib import Path

import psutil


def free_port() -> int:
    """Return a TCP port that was free on loopback a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class ProcessGroup:
    """One command in its own session, its output in a file."""

    def __init__(self, command: list[str], *, env: dict[str, str], log_path: Path, cwd: Path) -> None:
        self.log_path = log_path
        with log_path.open("ab") as log:
            self.process = subprocess.Popen(
                command, env=env, cwd=cwd, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True
            )

    @property
    def pid(self) -> int:
        return self.process.pid

    def is_running(self) -> bool:
        return self.process.poll() is None

    def log_tail(self, num_chars: int = 4000) -> str:
        return self.log_path.read_text(errors="replace")[-num_chars:]

    def kill(self) -> None:
        """SIGKILL to the whole group and to what it started in sessions of their own, as a machine that dies."""
        self._signal(self._members(), signal.SIGKILL)
        self.process.wait(10)

    def terminate(self, timeout_s: float = 20.0) -> None:
        """SIGTERM to the group, SIGKILL to what is left of it after timeout_s."""
        members = self._members()
        self._signal(members, signal.SIGTERM)
        _, alive = psutil.wait_procs(members, timeout=timeout_s)
        self._signal(alive, signal.SIGKILL)
        psutil.wait_procs(alive, timeout=10)
        if self.process.poll() is None:
            self.process.wait(10)

    def _members(self) -> list[psutil.Process]:
        # The session tells even orphans whose parent is gone; descendants may have opened sessions of their own.
        found: dict[int, psutil.Process] = {}
        for process in psutil.process_iter():
            try:
                if os.getsid(process.pid) == self.pid:
                    found[process.pid] = process
                    found.update({child.pid: child for child in process.children(recursive=True)})
            except (ProcessLookupError, psutil.NoSuchProcess):
                continue
        return list(found.values())

    @staticmethod
    def _signal(members: list[psutil.Process], number: signal.Signals) -> None:
        for member in members:
            try:
                member.send_signal(number)
            except psutil.NoSuchProcess:
                continue


def wait_until(condition, timeout_s: float, what: str, interval_s: float = 0.2):
    """Return the condition's first true value; raise TimeoutError naming what was waited for."""
    give_up_at = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > give_up_at:
            raise TimeoutError(f"not within {timeout_s:g} s: {what}")
        time.sleep(interval_s)
