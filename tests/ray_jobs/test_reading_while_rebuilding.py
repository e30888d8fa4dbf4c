"""Whoever reads while a set is rebuilt, and the rebuilder killed again and again, reads one whole version: old or new."""

import json
import random
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pytest

from ray_jobs.parts import not_digested, read_rows
from ray_jobs.row_digest import RowDigest
from ray_jobs.versions import Versions
from tests.ray_jobs import rebuilding
from tests.ray_jobs.crashing import kill_group, wait_for

READS, READERS, KILLS = 1_000, 2, 20
PAUSE_S = 0.02  # between two reads of one reader, which leaves the rebuilder some of the machine
MOST_LIFE_S = 0.4  # after its first commit, in which several more fit on a folder


def num_versions(store):
    return len(store.names("prompts/log"))


class Reader:
    """Reads the newest version over and over; what it saw is one number a read."""

    def __init__(self, store):
        self.versions, self.store = Versions(store), store
        self.seen = []

    def read_until(self, over, least):
        while not over.is_set() or len(self.seen) < least:
            self.seen.append(self.read())
            time.sleep(PAUSE_S)

    def read(self):
        """The number of the version that was read, after it was checked to be whole and one of those there meanwhile."""
        before = num_versions(self.store)
        manifest = self.versions.latest("prompts")
        rows = read_rows(self.store, manifest)
        after = num_versions(self.store)
        numbers = {rebuilding.number_of(prompt) for prompt in rows.column("prompt").to_pylist()}
        assert rows.num_rows == rebuilding.ROWS and len(numbers) == 1, f"a mix of versions {sorted(numbers)}"
        assert RowDigest().add_table(rows, not_digested("prompts")).hexdigest() == manifest.digest
        (number,) = numbers
        assert before <= number <= after
        return number


def start(store, folder):
    command = [sys.executable, rebuilding.__file__, store.uri, json.dumps(store.options), str(folder)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    return subprocess.Popen(command, start_new_session=True, cwd=Path(__file__).parents[2], **pipes)


def kill_again_and_again(store, folder, rng):
    """Lives of a rebuilder, each of which commits something before chance ends it."""
    for _ in range(KILLS):
        committed = num_versions(store)
        process = start(store, folder)
        wait_for(lambda committed=committed: num_versions(store) > committed, process)
        time.sleep(rng.uniform(0.0, MOST_LIFE_S))
        kill_group(process)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.reliability(3)
def test_1000_reads_during_a_rebuild_with_twenty_kills_each_give_one_whole_version(store, tmp_path):
    rebuilding.rebuild(store, tmp_path, 1)
    over, readers = Event(), [Reader(store) for _ in range(READERS)]
    with ThreadPoolExecutor(READERS) as pool:
        reading = [pool.submit(reader.read_until, over, READS // READERS) for reader in readers]
        try:
            kill_again_and_again(store, tmp_path, random.Random(3))
        finally:
            over.set()
        for each in reading:
            each.result()
    history = Versions(store).history("prompts")
    assert [entry.number for entry in history] == list(range(1, len(history) + 1))
    assert len({entry.key for entry in history}) == len(history) > KILLS
    for reader in readers:
        assert reader.seen == sorted(reader.seen), "a later read gave an older version"
    num_reads = sum(len(reader.seen) for reader in readers)
    seen = {number for reader in readers for number in reader.seen}
    print(f"{num_reads} reads saw {len(seen)} of {len(history)} versions")
    assert num_reads >= READS and len(seen) > KILLS // 2
