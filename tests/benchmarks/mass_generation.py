"""``python -m tests.benchmarks.mass_generation``: 100,000 prompts through the real job, killed once half way.

The model is a pair of the real classes, narrow and random, at one step; plan, parts on Ray Data, marks, rows and manifest
are those of any run. What is told: the driver's memory over time, whether every prompt ended as one row, and what the
kill -9 of driver and workers cost, in seconds and in parts done again. ``figures.json`` has every sample.
"""

import argparse
import hashlib
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from ray_jobs.job import JobContext, plan_job
from ray_jobs.parts import read_part
from ray_jobs.progress import Progress
from ray_jobs.store import Store
from ray_jobs.versions import Versions

BUCKETS = 11
REFUSED_EVERY = 1000
"""One prompt in so many is empty: it must end as a row with a reason."""

SETTINGS = {
    "steps": 1,
    "guidance": 1.0,
    "prompt_style_scale": 0.0,
    "batch_size": 16,
    "images_per_part": 64,
    "encode_format": "jpg",
}


@dataclass(frozen=True)
class Life:
    """One process from start to end or kill. first_part_s: until it had stored its first part."""

    began_with: int
    ended_with: int
    first_part_s: float
    seconds: float
    own_mib: list[tuple[float, float, int]]
    """(seconds since the start, MiB that are the driver's alone, parts stored by then)."""


def write_prompts(path: Path, count: int) -> None:
    """Distinct prompts over all buckets; ids by number."""
    with path.open("w", encoding="utf-8") as lines:
        for number in range(count):
            prompt = "" if number % REFUSED_EVERY == REFUSED_EVERY - 1 else f"scene {number:x}"
            record = {"prompt_id": f"p{number:06d}", "prompt": prompt, "bucket": number % BUCKETS, "language": "en"}
            lines.write(json.dumps(record) + "\n")


def prepare(folder: Path, count: int) -> Store:
    """A store with the pair and the prompts."""
    from ray_jobs.register_prompts import run as register
    from tests.ray_jobs.generation_job import with_folder
    from tests.ray_jobs.tiny_pair import write_tiny_pair

    store = Store(str(folder / "store"))
    narrow = {"norm_num_groups": 4, "attention_head_dim": (1, 1)}
    with_folder(store, write_tiny_pair(folder / "pair", (8, 8), **narrow))
    write_prompts(folder / "prompts.jsonl", count)
    plan = plan_job("register_prompts", {"path": str(folder / "prompts.jsonl"), "rows_per_part": 500}, {}, store)
    register(JobContext(plan, store, plan.config, Progress("register_prompts")))
    return store


def start(store: Store, log: Path, workers: int) -> subprocess.Popen[bytes]:
    """`pangu run generate_images` in a session of its own."""
    runtime = {"workers": workers, "cpus_per_worker": 1, "device": "cpu"}
    settings = json.dumps(SETTINGS | {"runtime": runtime})
    command = [sys.executable, "-m", "ray_jobs.cli", "run", "generate_images", "--settings", settings]
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token(log)),
    }
    with log.open("ab") as output:
        return subprocess.Popen(
            [*command, "--store", store.uri], stdout=output, stderr=output, env=environment, start_new_session=True
        )


def token(log: Path) -> Path:
    """The token that every process of this run's Ray asks for."""
    path = log.with_name("token")
    if not path.exists():
        path.write_text(hashlib.sha256(os.urandom(32)).hexdigest())
    return path


def live(store: Store, log: Path, workers: int, kill_at: int | None) -> Life:
    """Let it run to its end, or until so many parts are stored."""
    began, process, first = count_parts(store), start(store, log, workers), None
    started, samples = time.monotonic(), []
    driver = psutil.Process(process.pid)
    while process.poll() is None:
        elapsed, stored = time.monotonic() - started, count_parts(store)
        first = elapsed if first is None and stored > began else first
        with suppress(psutil.Error):
            samples.append((round(elapsed, 1), round(driver.memory_full_info().uss / 2**20, 1), stored))
        if kill_at is not None and stored >= kill_at:
            kill(process)
            break
        time.sleep(0.5)
    if kill_at is None and process.returncode:
        raise SystemExit(f"generate_images failed, see {log}")
    return Life(began, count_parts(store), first or 0.0, time.monotonic() - started, samples)


def kill(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL for the driver and every process of its Ray, at the same moment; then wait until they are gone."""
    members = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    for member in members:
        with suppress(psutil.Error):
            member.send_signal(signal.SIGKILL)
    process.wait()
    psutil.wait_procs(members, timeout=30)


def count_parts(store: Store) -> int:
    """Parts stored so far."""
    return sum(1 for folder in Path(store.root).glob("generated_images/*/parts") for _ in os.scandir(folder))


def count_begun(store: Store) -> int:
    """Times that a worker began a part, over all lives."""
    return sum(1 for name in store.names("generated_images") if "/begun/" in name)


def account(store: Store, count: int) -> dict[str, object]:
    """Every prompt as exactly one row, and why rows have no picture; AssertionError otherwise."""
    manifest = Versions(store).latest("generated_images")
    assert manifest is not None
    reasons: Counter[str | None] = Counter()
    keys: set[str] = set()
    for part in manifest.parts:
        rows = read_part(store, manifest, part.name, ["key", "reason", "image_sha256"]).to_pylist()
        keys |= {row["key"] for row in rows}
        reasons.update("picture" if row["reason"] is None else row["reason"] for row in rows)
        assert all((row["reason"] is None) == (row["image_sha256"] is not None) for row in rows)
    assert keys == {f"p{number:06d}/0" for number in range(count)}, len(keys)
    assert manifest.rows == count == sum(reasons.values())
    return {"rows": manifest.rows, "parts": len(manifest.parts), "reasons": dict(reasons), "digest": manifest.digest}


def report(lives: list[Life], accounts: dict[str, object], begun: int) -> dict[str, object]:
    """The figures of a run: memory by quarter of each life, pace, and what the kill cost."""
    memory = []
    for number, life in enumerate(lives):
        working = [(at, mib) for at, mib, stored in life.own_mib if stored > life.began_with]
        for quarter in quarters(working):
            memory.append(
                {"life": number, "until_s": quarter[-1][0], "median_mib": statistics.median(m for _, m in quarter)}
            )
    parts = int(str(accounts["parts"]))
    return accounts | {
        "driver_mib": memory,
        "driver_slope_mib_per_100k_rows": [round(slope(life), 2) for life in lives],
        "seconds": [round(life.seconds, 1) for life in lives],
        "rows_per_s": round(int(str(accounts["rows"])) / sum(life.seconds for life in lives), 1),
        "first_part_s": [round(life.first_part_s, 1) for life in lives],
        "parts_begun_again": begun - parts,
    }


def quarters(samples: list[tuple[float, float]]) -> Iterator[list[tuple[float, float]]]:
    """The samples in four stretches of equal length."""
    size = -(-len(samples) // 4)
    for at in range(0, len(samples), max(size, 1)):
        yield samples[at : at + size]


def slope(life: Life) -> float:
    """MiB by which the driver grows per 100,000 rows, by least squares over the second half of a life."""
    working = [(stored, mib) for _, mib, stored in life.own_mib if stored > life.began_with]
    taken = working[len(working) // 2 :]
    if len({stored for stored, _ in taken}) < 2:
        return 0.0
    parts, mib = zip(*taken, strict=True)
    return statistics.linear_regression(parts, mib).slope * 100_000 / SETTINGS["images_per_part"]


def main(arguments: list[str] | None = None) -> int:
    """Prepare, run, kill, run to the end, account, report."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.mass_generation", description=__doc__)
    parser.add_argument("--prompts", type=int, default=100_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=Path(".pangu", "mass-generation"), help="must be empty or new")
    chosen = parser.parse_args(arguments)
    chosen.folder.mkdir(parents=True)
    folder = chosen.folder.absolute()
    started = time.monotonic()
    store = prepare(folder, chosen.prompts)
    sys.stderr.write(f"prepared in {time.monotonic() - started:.0f} s\n")
    half = chosen.prompts // int(str(SETTINGS["images_per_part"])) // 2
    lives = [live(store, folder / "log", chosen.workers, kill_at) for kill_at in (half, None)]
    found = report(lives, account(store, chosen.prompts), count_begun(store))
    (folder / "figures.json").write_text(json.dumps(found | {"lives": [asdict(life) for life in lives]}) + "\n")
    sys.stdout.write(json.dumps(found, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
