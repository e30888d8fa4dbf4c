"""An S3 server that refuses, hangs up, forgets to answer or answers half: the same versions come out, or one clear error."""

import random
from itertools import cycle

import pytest

from ray_jobs.errors import StoreUnreachable
from ray_jobs.parts import not_digested, read_rows
from ray_jobs.row_digest import RowDigest
from ray_jobs.store import Store
from tests.ray_jobs import rebuilding
from tests.ray_jobs.s3_relay import FAULTS, relayed

pytestmark = [pytest.mark.reliability(8), pytest.mark.slow]

MOST_RETRIES = 6
DATA = b"y" * 5_000
OPERATIONS = {
    "read": lambda store: store.read("a/x") == DATA,
    "names": lambda store: store.names("a") == ["a/x"],
    "exists": lambda store: store.exists("a/x") and not store.exists("a/y"),
    "size": lambda store: store.size("a/x") == len(DATA),
    "create": lambda store: store.create("a/new", DATA) is None and store.read("a/new") == DATA,
    "delete": lambda store: store.delete("a/x") is None and not store.exists("a/x"),
}


def first(times, fault):
    """The first so many requests meet this fault."""
    left = [fault] * times
    return lambda number, command: left.pop() if left else None


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("fault", FAULTS)
def test_every_operation_outlives_every_fault(s3_store, operation, fault):
    s3_store.create("a/x", DATA)
    with relayed(s3_store) as (through, server):
        server.fault_of = first(2, fault)
        assert OPERATIONS[operation](through)
        assert len(server.faults) in (1, 2), "a HEAD has no body to cut short"


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize(("fault", "sent_again"), [("unavailable", 1), ("reset", 2)])
def test_a_store_that_never_answers_is_one_clear_error_after_few_retries(s3_store, operation, fault, sent_again):
    """sent_again: aiohttp by itself sends a request without side effects twice when its connection is gone."""
    with relayed(s3_store) as (through, server):
        server.fault_of = lambda number, command: fault
        with pytest.raises(
            StoreUnreachable, match=rf"(reading|listing|looking for|storing|deleting) a.* in {through.uri}"
        ):
            OPERATIONS[operation](through)
        sent = max(server.requests.count(request) for request in server.requests)
        looks_twice = 2 if operation == "create" else 1  # for its own bytes, then whether anyone's are there
        assert 1 < sent <= (1 + MOST_RETRIES) * sent_again * looks_twice


def digest_of(store, version):
    """Of the rows as they are stored, whatever the manifest says."""
    return RowDigest().add_table(read_rows(store, version), not_digested("prompts")).hexdigest()


@pytest.mark.timeout(900)
def test_a_tenth_of_all_calls_failing_changes_no_digest(s3_store, tmp_path):
    calm, rng = Store(str(tmp_path / "calm")), random.Random(8)
    with relayed(s3_store) as (through, server):
        server.fault_of = lambda number, command: rng.choice(FAULTS) if rng.random() < 0.1 else None
        for number in range(1, 11):
            expected = rebuilding.rebuild(calm, tmp_path, number)
            made = rebuilding.rebuild(through, tmp_path, number)
            assert made.digest == expected.digest == digest_of(s3_store, made)
        kinds = {fault for fault, _, _ in server.faults}
        assert kinds == set(FAULTS) and len(server.faults) > 0.07 * len(server.requests)


def fail_the_nth(s3_store, folder, positions, rows_per_part):
    """A rebuild for each position, whose request there meets a fault, the kinds in turn; the digests never move."""
    expected = rebuilding.rebuild(Store(str(folder / "calm")), folder, 1, rows_per_part).digest
    with relayed(s3_store) as (through, server):
        for run, (nth, fault) in enumerate(zip(positions, cycle(FAULTS), strict=False)):
            wanted = len(server.requests) + nth
            server.fault_of = lambda number, command, wanted=wanted, fault=fault: fault if number == wanted else None
            made = rebuilding.rebuild(Store(f"{through.uri}/{run}", through.options), folder, 1, rows_per_part)
            assert len(server.requests) >= wanted, "the job has fewer requests"
            stored = digest_of(Store(f"{s3_store.uri}/{run}", s3_store.options), made)
            assert made.digest == expected == stored, (nth, fault)
        assert len(server.faults) == len(positions)


@pytest.mark.timeout(900)
def test_any_one_call_of_a_job_failing_in_any_way_changes_no_digest(s3_store, tmp_path):
    positions = [nth for nth in range(1, 20) for _ in FAULTS]
    fail_the_nth(s3_store, tmp_path, positions, rows_per_part=48)


@pytest.mark.nightly
@pytest.mark.timeout(3600)
def test_any_one_of_two_hundred_calls_failing_changes_no_digest(s3_store, tmp_path):
    fail_the_nth(s3_store, tmp_path, range(1, 201), rows_per_part=1)
