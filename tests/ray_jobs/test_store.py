"""The create-only put on a folder and on S3, and the probe that refuses a server without it."""

import threading

import pytest

from ray_jobs.errors import AlreadyStored, StoreUnreachable, UnsafeStore
from ray_jobs.store import Store
from tests.ray_jobs.s3_relay import relayed


def test_create_reads_back_and_never_overwrites(store):
    store.create("a/b", b"one")
    with pytest.raises(AlreadyStored):
        store.create("a/b", b"two")
    assert store.read("a/b") == b"one"
    assert store.names("a") == ["a/b"]
    assert store.names("nothing") == []


def test_missing_name_is_file_not_found(store):
    with pytest.raises(FileNotFoundError):
        store.read("a/missing")
    assert not store.exists("a/missing")


@pytest.mark.parametrize("name", ["../out", "/etc/passwd", "a/../../b"])
def test_names_stay_inside_the_store(folder_store, name):
    with pytest.raises(ValueError, match="leaves the store"):
        folder_store.create(name, b"x")


def test_probe_passes_and_leaves_nothing(store):
    store.probe()
    assert store.names("probe") == []


@pytest.mark.reliability(4)
def test_sixteen_creators_of_one_name_have_one_winner(store):
    results = []
    barrier = threading.Barrier(16)

    def put(number):
        own = Store(store.uri, store.options)
        barrier.wait()
        try:
            own.create("race", f"writer {number}".encode())
            results.append(number)
        except AlreadyStored:
            results.append(None)

    threads = [threading.Thread(target=put, args=(n,)) for n in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    winners = [n for n in results if n is not None]
    assert len(results) == 16 and len(winners) == 1
    assert store.read("race") == f"writer {winners[0]}".encode()


def first_put_loses_its_reply():
    left = ["lost"]
    return lambda number, command: left.pop() if command == "PUT" and left else None


@pytest.mark.reliability(4)
def test_a_lost_reply_is_resolved_by_reading_back(s3_store):
    with relayed(s3_store) as (through, relay):
        relay.fault_of = first_put_loses_its_reply()
        through.create("lost", b"mine")
        assert s3_store.read("lost") == b"mine"
        relay.fault_of = first_put_loses_its_reply()
        with pytest.raises(AlreadyStored):
            through.create("lost", b"another")
        assert s3_store.read("lost") == b"mine"
        assert [fault for fault, _, _ in relay.faults] == ["lost", "lost"]


def test_a_conflict_of_two_operations_is_asked_again(s3_store):
    with relayed(s3_store) as (through, relay):
        relay.fault_of = lambda number, command: "conflict" if number <= 2 else None
        through.create("asked again", b"mine")
        assert s3_store.read("asked again") == b"mine"
        assert len(relay.faults) == 2


def test_a_server_that_ignores_conditions_is_refused(s3_store):
    with relayed(s3_store) as (through, relay):
        relay.ignores_conditions = True
        with pytest.raises(UnsafeStore, match="If-None-Match"):
            through.probe()


def test_unreachable_s3_is_one_clear_error(s3_options):
    gone = Store(
        "s3://bucket/prefix",
        {**s3_options, "endpoint_url": "http://127.0.0.1:9", "config_kwargs": {"retries": {"max_attempts": 0}}},
    )
    with pytest.raises(StoreUnreachable, match="storing x in s3://bucket/prefix"):
        gone.create("x", b"")


def test_unusable_folder_is_one_clear_error(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(StoreUnreachable, match="storing x"):
        Store(str(tmp_path / "file" / "store")).create("x", b"")


def test_other_schemes_are_refused():
    with pytest.raises(ValueError, match="scheme 'gs'"):
        Store("gs://bucket")
