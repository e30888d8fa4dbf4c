"""``python -m tests.benchmarks.run 1 10``: runs these rows of the performance table, all without numbers.

A row is a file ``row_NN_*.py`` with ``measure(full) -> list[BenchmarkRow]``. Figures are ratios to a peer in the same run;
they gate nothing. ``--full`` takes the sizes of the table, which may need more than two minutes a row.
"""

import argparse
import importlib
import json
import os
import re
import sys
from dataclasses import asdict
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy is loaded: its BLAS reads it once
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

HERE = Path(__file__).parent
COLUMNS = ("row", "case", "peer", "ours", "theirs", "ratio", "spread", "target", "checked_equal")


def row_modules() -> dict[int, str]:
    """The rows there are, by number."""
    found = {}
    for path in sorted(HERE.glob("row_*.py")):
        number = re.match(r"row_(\d+)_", path.name)
        assert number, path
        found[int(number[1])] = f"tests.benchmarks.{path.stem}"
    return found


def table(rows: list[dict[str, object]]) -> str:
    """The rows as Markdown."""
    lines = ["| " + " | ".join(COLUMNS) + " |", "|" + "---|" * len(COLUMNS)]
    lines += ["| " + " | ".join(_cell(row[name]) for name in COLUMNS) + " |" for row in rows]
    return "\n".join(lines)


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, tuple | list):
        return " to ".join(_cell(each) for each in value)
    return str(value)


def main(arguments: list[str] | None = None) -> int:
    """Run, print, store."""
    modules = row_modules()
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.run", description=__doc__)
    parser.add_argument("rows", nargs="*", type=int, help=f"of {', '.join(map(str, modules))}")
    parser.add_argument("--full", action="store_true", help="the sizes of the performance table")
    parser.add_argument("--json", type=Path, default=Path(".pangu", "benchmarks.json"))
    chosen = parser.parse_args(arguments)
    unknown = sorted(set(chosen.rows) - set(modules))
    if unknown:
        parser.error(f"rows: {unknown} have no benchmark; accepted are {', '.join(map(str, modules))}")
    rows: list[dict[str, object]] = []
    for number in chosen.rows or modules:
        for row in importlib.import_module(modules[number]).measure(chosen.full):
            rows.append(asdict(row))
            sys.stderr.write(f"row {row.row}, {row.case}: {row.ratio:.2f}\n")
    chosen.json.parent.mkdir(parents=True, exist_ok=True)
    chosen.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    sys.stdout.write(f"{table(rows)}\n\n{rows[0]['machine']}\n{chosen.json}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
