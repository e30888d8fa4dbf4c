"""Commits: one winner, readable history, references, a mended log."""

import threading

import pyarrow as pa
import pytest

from ray_jobs.errors import AlreadyStored, UnknownVersion
from ray_jobs.manifest import Manifest
from ray_jobs.parts import read_rows, write_part
from ray_jobs.store import Store
from ray_jobs.versions import Versions


def manifest(key, digest="d", artifact="prompts", parts=()):
    return Manifest(
        artifact=artifact,
        key=key,
        digest=digest,
        job="register_prompts",
        code_version=1,
        config={},
        inputs={},
        parts=tuple(parts),
    )


def test_references_find_versions(store):
    versions = Versions(store)
    first, second = versions.commit(manifest("k1", "d1")), versions.commit(manifest("k2", "d2"))
    assert versions.resolve("prompts") == second
    assert versions.resolve("prompts@1") == first
    assert versions.resolve("prompts@k1") == first
    versions.promote(first, "champion")
    assert versions.resolve("prompts@champion") == first
    versions.promote(second, "champion")
    assert versions.resolve("prompts@champion") == second
    with pytest.raises(UnknownVersion, match="numbers 1 to 2"):
        versions.resolve("prompts@9")
    with pytest.raises(UnknownVersion, match="accepted are url_list"):
        versions.resolve("promptz")


@pytest.mark.reliability(4)
def test_sixteen_commits_of_one_key_have_one_winner(store):
    outcomes = []
    barrier = threading.Barrier(16)

    def commit():
        own = Versions(Store(store.uri, store.options))
        mine = manifest("contested")
        barrier.wait()
        try:
            outcomes.append(own.commit(mine).commit_id)
        except AlreadyStored:
            outcomes.append(None)

    threads = [threading.Thread(target=commit) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    winners = [commit_id for commit_id in outcomes if commit_id]
    assert len(outcomes) == 16 and len(winners) == 1
    assert Versions(store).resolve("prompts").commit_id == winners[0]
    assert len(Versions(store).history("prompts")) == 1


def test_a_crash_between_commit_and_log_is_mended(store):
    versions = Versions(store)
    lost = manifest("k1")
    store.create(f"{lost.prefix}/manifest.json", lost.encode())
    assert versions.latest("prompts") is None
    versions.list_in_log(versions.find("prompts", "k1"))
    versions.list_in_log(versions.find("prompts", "k1"))
    assert [entry.key for entry in versions.history("prompts")] == ["k1"]


def test_a_newer_manifest_format_is_refused(store):
    text = manifest("k1").model_copy(update={"format": 2}).encode()
    store.create("prompts/k1/manifest.json", text)
    with pytest.raises(ValueError, match="format 2; this code reads format 1"):
        Versions(store).find("prompts", "k1")


def test_a_part_that_is_there_already_counts_and_stays(store):
    table = pa.table({"key": ["a", "b"], "reason": pa.array([None, "too_small"])})
    first = write_part(store, "prompts/k", "p.parquet", table, ())
    other = write_part(store, "prompts/k", "p.parquet", table.slice(0, 1), ())
    assert other.part == first.part and other.counts == {"in": 2, "kept": 1, "too_small": 1}
    version = manifest("k", parts=[first.part])
    assert read_rows(store, version, ["key"]).to_pylist() == [{"key": "a"}, {"key": "b"}]


@pytest.mark.reliability(11)
def test_an_alias_is_what_it_was_at_a_moment_however_its_moves_were_recorded(store):
    versions = Versions(store)
    first, second, third = (versions.commit(manifest(f"k{n}", f"d{n}")) for n in (1, 2, 3))
    with pytest.raises(UnknownVersion, match=r"prompts as of 2026-01-01T00:00:00Z: no such version"):
        versions.as_of("prompts", "2026-01-01")
    assert versions.as_of("prompts", "2999-01-01", "champion") == third, "an alias that never moved is the newest"
    versions.promote(second, "champion", at="2026-11-10T03:00Z")
    versions.promote(first, "champion", at="2026-11-01")
    versions.promote(third, "champion", at="2999-01-01T02:00+02:00")
    expected = {
        "2026-11-01": first,
        "2026-11-10T02:59:59Z": first,
        "2026-11-10T04:00:00+01:00": second,
        "2998-12-31T23:59:59": second,
        "2999-01-01": third,
    }
    assert {moment: versions.as_of("prompts", moment, "champion") for moment in expected} == expected
    assert versions.resolve("prompts@champion") == second, "a move of the future is not yet one"
    with pytest.raises(UnknownVersion, match=r"the alias first moved: 2026-11-01T00:00:00Z"):
        versions.as_of("prompts", "2026-10-31", "champion")
    assert [move.key for move in versions.alias_moves("prompts", "champion")] == ["k1", "k2", "k3"]
    with pytest.raises(ValueError, match=r"moment: 'tomorrow' is not ISO 8601"):
        versions.promote(first, "champion", at="tomorrow")


def test_before_there_was_any_version_a_night_takes_the_first(store):
    versions = Versions(store)
    first, second = versions.commit(manifest("k1", "d1")), versions.commit(manifest("k2", "d2"))
    assert versions.as_of_or_first("prompts", "2020-01-01") == first
    assert versions.as_of_or_first("prompts", "2999-01-01") == second
    with pytest.raises(UnknownVersion, match="there are: none yet"):
        versions.as_of_or_first("images", "2020-01-01")
