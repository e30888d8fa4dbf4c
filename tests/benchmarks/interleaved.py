"""Two ways to the same result, timed in turn: what a row of the performance table is made of."""

import os
import platform
import statistics
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy
import scipy
from threadpoolctl import threadpool_limits

ROUNDS = 5
THREADS = int(os.environ.get("OMP_NUM_THREADS", "1"))


@dataclass(frozen=True)
class BenchmarkRow:
    """One line of the table. ours, theirs: medians in seconds; ratio: median of theirs / ours over the rounds.

    spread: the smallest and the largest ratio of a round. checked_equal: what was compared, and how far apart it was.
    """

    row: int
    case: str
    peer: str
    ours: float
    theirs: float
    ratio: float
    spread: tuple[float, float]
    target: float
    checked_equal: str
    machine: str


def compare(
    row: int,
    case: str,
    peer: str,
    *,
    ours: Callable[[], Any],
    theirs: Callable[[], Any],
    check: Callable[[Any, Any], str],
    target: float,
    starts_cold: bool = False,
) -> BenchmarkRow:
    """Time both in turn, A B A B, and check that they give the same; AssertionError if they do not.

    starts_cold: each call starts processes of its own, so nothing is there to be warmed and the checked pair counts.
    """
    with pinned_threads():
        first_ours_s, mine = _timed(ours)
        first_theirs_s, peers = _timed(theirs)
        said = check(mine, peers)
        pairs = [(first_ours_s, first_theirs_s)] if starts_cold else []
        while len(pairs) < ROUNDS:
            pairs.append((_timed(ours)[0], _timed(theirs)[0]))
    ratios = [theirs_s / ours_s for ours_s, theirs_s in pairs]
    return BenchmarkRow(
        row=row,
        case=case,
        peer=peer,
        ours=statistics.median(ours_s for ours_s, _ in pairs),
        theirs=statistics.median(theirs_s for _, theirs_s in pairs),
        ratio=statistics.median(ratios),
        spread=(min(ratios), max(ratios)),
        target=target,
        checked_equal=said,
        machine=machine(),
    )


def pinned_threads() -> AbstractContextManager[Any]:
    """BLAS and OpenMP held to `THREADS` each, in this process; children inherit OMP_NUM_THREADS."""
    limits: AbstractContextManager[Any] = threadpool_limits(THREADS)
    return limits


def _timed(work: Callable[[], Any]) -> tuple[float, Any]:
    started = time.perf_counter()
    result = work()
    return time.perf_counter() - started, result


def machine() -> str:
    """Processor, cores, threads used, versions that decide speed, and how busy the machine was with other work."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    model = next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine()
    )
    return (
        f"{model}, {os.cpu_count()} cores, {THREADS} threads, numpy {numpy.__version__}, scipy {scipy.__version__}, "
        f"load {os.getloadavg()[0]:.1f}"
    )
