"""Crashes at full size: 5,000 rows through more than twenty random kills, 200 real pictures through five of a whole Ray.

Kills come sooner than every nine seconds, so that the file takes minutes; each life of a driver stores something first,
and from then on the moment is chance's: in the middle of a part, between two files of one, while a worker starts.
"""

import os
import random
import signal
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from ray_jobs.parts import read_part
from ray_jobs.store import Store
from ray_jobs.versions import Versions
from tests.ray_jobs.crashing import (
    PART_S,
    SETTINGS,
    WORKERS,
    assert_whole,
    begun,
    commit_folder,
    commit_rows,
    copy_of,
    finish_rows,
    kill_group,
    parts_of,
    start,
    wait_for,
)
from tests.ray_jobs.tiny_pair import write_tiny_pair

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.usefixtures("crashing_by_value")]

ROWS, PICTURES = 5_000, 200
MOST_STALL_S = 400.0  # of a machine that does much else; a kill waits for parts, not for a clock
FIRST_PROGRESS_S = 30.0


def with_prompts(run_in, folder, rows_per_part):
    """A store with a small folder as experts and 5,000 prompts."""
    (folder / "small").mkdir(parents=True)
    (folder / "small" / "card.json").write_text("{}")
    (folder / "prompts.txt").write_text("\n".join(f"scene {number}" for number in range(ROWS)))
    store = Store(str(folder / "store"))
    commit_folder(store, folder / "small")
    run_in(store, "register_prompts", path=str(folder / "prompts.txt"), rows_per_part=rows_per_part)
    return store


class Storm:
    """Lives of one job's drivers and workers, and how many of either were killed."""

    def __init__(self, store, rng, most_between):
        import ray

        self.store, self.rng, self.most_between = store, rng, most_between
        self.address = ray.get_runtime_context().gcs_address
        self.drivers = self.workers = 0

    def blow(self, kills):
        """Kill drivers and workers by chance, a driver last, until so many have died."""
        driver = self.live()
        while self.drivers + self.workers < kills - 1:
            self.wait_for_parts(driver, self.rng.randint(1, self.most_between))
            time.sleep(self.rng.uniform(0.0, 2 * PART_S))
            if self.rng.random() < 0.5:
                self.workers += self.kill_a_worker()
            else:
                self.end(driver)
                driver = self.live()
        self.end(driver)

    def live(self):
        """A driver that has stored something."""
        driver = start("rows", self.store, CRASH_RAY_ADDRESS=self.address)
        self.wait_for_parts(driver, 1)
        return driver

    def wait_for_parts(self, driver, more):
        target = len(parts_of(self.store)) + more
        wait_for(lambda: len(parts_of(self.store)) >= target, driver, MOST_STALL_S)

    def end(self, driver):
        kill_group(driver)
        self.drivers += 1

    def kill_a_worker(self):
        """SIGKILL for the worker that began a part last; False when it has gone by itself."""
        pid = int(begun(self.store)[-1][0])
        with suppress(psutil.Error, ProcessLookupError):
            if "MapWorker" in " ".join(psutil.Process(pid).cmdline()):
                os.kill(pid, signal.SIGKILL)
                return True
        return False


def calls_by_key(store):
    """How often the model was called for each key, a call that was killed included."""
    prompts = Versions(store).latest("prompts")
    times = Counter(part for _, part in begun(store))
    calls = Counter()
    for part in prompts.parts:
        for prompt_id in read_part(store, prompts, part.name, ["prompt_id"])["prompt_id"].to_pylist():
            calls[f"{prompt_id}/0"] += times[part.name]
    return calls, max(part.rows for part in prompts.parts)


def survive(store, expected, kills, most_between):
    """A storm over the store, then a calm run of the rest: everything there once, little done twice."""
    storm = Storm(store, random.Random(kills), most_between)
    storm.blow(kills)
    assert storm.drivers > kills // 5 and storm.workers > kills // 5
    assert Versions(store).latest("generated_images") is None, "it was over before the storm was"
    survived = len(parts_of(store))
    assert_whole(store, finish_rows(store), expected)
    calls, rows_of_a_part = calls_by_key(store)
    assert len(calls) == ROWS and min(calls.values()) == 1
    redone, bound = calls.total() - ROWS, (WORKERS * storm.drivers + storm.workers) * rows_of_a_part
    print(
        f"{storm.drivers} drivers and {storm.workers} workers killed; {survived} parts survived; "
        f"{redone} of {ROWS} rows were done again, bound {bound}"
    )
    assert 0 < redone <= bound


@pytest.mark.timeout(1500)
@pytest.mark.reliability(1)
@pytest.mark.reliability(2)
def test_5000_rows_survive_more_than_twenty_random_kills(run_in, tmp_path):
    store = with_prompts(run_in, tmp_path / "torn", rows_per_part=20)
    expected = commit_rows(copy_of(store, tmp_path / "calm" / "store")).digest
    survive(store, expected, kills=22, most_between=10)


@pytest.mark.nightly
@pytest.mark.timeout(10_800)
@pytest.mark.reliability(1)
@pytest.mark.reliability(2)
def test_5000_rows_survive_two_hundred_random_kills(run_in, tmp_path):
    store = with_prompts(run_in, tmp_path / "torn", rows_per_part=5)
    expected = commit_rows(copy_of(store, tmp_path / "calm" / "store")).digest
    survive(store, expected, kills=200, most_between=3)


def with_pair(run_in, pair, folder, prompts, rows_per_part):
    """A store with the narrow pair and the prompts in this order."""
    folder.mkdir()
    store = Store(str(folder / "store"))
    commit_folder(store, pair)
    (folder / "prompts.txt").write_text("\n".join(prompts))
    run_in(store, "register_prompts", path=str(folder / "prompts.txt"), rows_per_part=rows_per_part)
    return store


@pytest.mark.timeout(1200)
@pytest.mark.reliability(1)
@pytest.mark.reliability(2)
@pytest.mark.reliability(24)
def test_200_pictures_are_the_same_after_five_kills_and_in_every_layout(run_in, tmp_path):
    pair = write_tiny_pair(tmp_path / "pair", (8, 8), norm_num_groups=4, attention_head_dim=(1, 1))
    prompts = [f"a red ball, number {number}" for number in range(PICTURES)]
    shuffled = random.Random(7).sample(prompts, PICTURES)
    killed, one, other = (
        with_pair(run_in, pair, tmp_path / name, order, rows_per_part)
        for name, order, rows_per_part in (("killed", prompts, 30), ("one", prompts, 30), ("other", shuffled, 7))
    )
    compute_s = []
    for _ in range(5):
        done = len(parts_of(killed))
        process = start("generate", killed)
        wait_for(lambda done=done: len(parts_of(killed)) > done, process, MOST_STALL_S)
        compute_s.append(processor_seconds(process))
        kill_group(process)
    print(f"to the first part of each life: {', '.join(f'{each:.1f}' for each in compute_s)} s of driver and workers")
    assert max(compute_s) <= FIRST_PROGRESS_S
    survived = parts_of(killed)
    assert 5 <= len(survived) < 50, "each life got somewhere and none finished"
    stored = {name: Path(killed.path(name)).stat().st_mtime_ns for name in survived}
    finished = run_in(killed, "generate_images", **SETTINGS).manifest
    assert {name: Path(killed.path(name)).stat().st_mtime_ns for name in survived} == stored, "a stored part was redone"
    assert finished.counts["kept"] == PICTURES and finished.environment["torch"] and finished.code
    one_worker = {"runtime": {"workers": 1, "cpus_per_worker": 0.5}, "images_per_part": 16}
    alone = run_in(one, "generate_images", **SETTINGS | one_worker).manifest
    again = run_in(other, "generate_images", **SETTINGS | {"images_per_part": 64}).manifest
    assert len(finished.parts) > len(alone.parts) > len(again.parts)
    assert alone.digest == again.digest
    assert_whole(killed, finished, alone.digest)


def processor_seconds(driver):
    """What a driver and its workers have spent, loading included: seconds that no other work on the machine lengthens."""
    spent, process = 0.0, psutil.Process(driver.pid)
    for each in [process, *process.children(recursive=True)]:
        with suppress(psutil.Error):
            if each == process or "MapWorker" in " ".join(each.cmdline()):
                spent += sum(each.cpu_times()[:2])
    return spent
