"""Runs every test that holds a row of the reliability list and prints one line a row: held, fails, or no test."""

import os
import sys
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
ROWS = {
    1: "crash equality",
    2: "loss bound",
    3: "old version always readable",
    4: "one winner",
    5: "store model",
    6: "layout independence",
    7: "row conservation",
    8: "storage faults",
    9: "no duplicate Ray jobs",
    10: "cancellation",
    11: "DAG contract",
    12: "exact resume",
    13: "checkpoint crash safety",
    14: "overload",
    15: "zero-loss rollout",
    16: "cancel and deadline",
    17: "closed doors",
    18: "no code from data",
    19: "SSRF",
    20: "bombs and fuzz",
    21: "opt-out and provenance",
    22: "unsafe content fails closed",
    23: "text and secrets",
    24: "reproducible pixels",
    25: "marked output",
}


class RowReport:
    """Collects outcomes by row while pytest runs."""

    def __init__(self) -> None:
        self.outcomes: dict[int, list[str]] = defaultdict(list)
        self.rows_of: dict[str, tuple[int, ...]] = {}

    def pytest_collection_modifyitems(self, config, items):
        """Keep marked tests alone."""
        kept = []
        for item in items:
            rows = tuple(mark.args[0] for mark in item.iter_markers("reliability"))
            if rows:
                self.rows_of[item.nodeid] = rows
                kept.append(item)
        config.hook.pytest_deselected(items=[item for item in items if item.nodeid not in self.rows_of])
        items[:] = kept

    def pytest_runtest_logreport(self, report):
        """Note how a test ended; a failing set-up or tear-down fails its rows."""
        if report.when == "call" or report.outcome != "passed":
            for row in self.rows_of.get(report.nodeid, ()):
                self.outcomes[row].append(report.outcome)

    def line(self, row: int) -> str:
        """One row's verdict. A row whose tests were all skipped was not held."""
        found = self.outcomes.get(row, [])
        passed, failed, skipped = (found.count(outcome) for outcome in ("passed", "failed", "skipped"))
        verdict = "fails" if failed else "held" if passed else "no test"
        return f"{row:2d}  {verdict:8s} {ROWS[row]:30s} {passed} passed, {failed} failed, {skipped} skipped"


def main() -> int:
    """Run, print, and fail only where a row fails."""
    os.chdir(ROOT)
    report = RowReport()
    status = pytest.main(["-q", "-m", "not nightly", "-p", "no:cacheprovider", *sys.argv[1:]], plugins=[report])
    print("\nreliability, row by row")
    for row in ROWS:
        print(report.line(row))
    if status == pytest.ExitCode.NO_TESTS_COLLECTED:
        return 1
    return int(status)


if __name__ == "__main__":
    raise SystemExit(main())
