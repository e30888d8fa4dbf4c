"""The process that is killed while others read: ``rebuilding.py STORE OPTIONS FOLDER`` commits one version after another.

Version k is a prompt file of `ROWS` lines that all say k, registered by the real job in several parts. It goes on after the
newest version in the store, so that a killed life's version is taken up by the next life.
"""

import json
import re
import sys
from itertools import count
from pathlib import Path

from ray_jobs.config import job_settings
from ray_jobs.job import plan_job, run_job
from ray_jobs.store import Store
from ray_jobs.versions import Versions

ROWS, ROWS_PER_PART = 96, 24


def rebuild(store, folder, number, rows_per_part=ROWS_PER_PART):
    """Commit the version of this number."""
    path = folder / f"version-{number}.txt"
    path.write_text("".join(f"version {number}, scene {row}\n" for row in range(ROWS)))
    settings = job_settings("register_prompts", "sample", {"path": str(path), "rows_per_part": rows_per_part})
    return run_job(plan_job("register_prompts", settings, {}, store), store).manifest


def number_of(prompt):
    """The version that a row belongs to."""
    return int(re.fullmatch(r"version (\d+), scene \d+", prompt)[1])


def rebuild_for_ever(store, folder):
    for number in count(len(Versions(store).history("prompts")) + 1):
        rebuild(store, folder, number)


if __name__ == "__main__":
    rebuild_for_ever(Store(sys.argv[1], json.loads(sys.argv[2])), Path(sys.argv[3]))
