"""`pangu gc` on a folder and on S3: what stays, what goes, and how a killed one is finished."""

from contextlib import suppress

import pytest

from ray_jobs.claims import mark_name
from ray_jobs.collecting import collect_garbage, find_garbage
from ray_jobs.errors import BeingRemoved, JobError, StoreError, UnknownVersion
from ray_jobs.inspection import artifact_table
from ray_jobs.kill_points import KILL_POINTS
from ray_jobs.retention import Retention
from ray_jobs.store import Store
from ray_jobs.verifying import find_problems, find_versions
from ray_jobs.versions import Versions
from tests.ray_jobs.store_world import (
    LATER,
    ONE,
    Clock,
    ClockedStore,
    Died,
    Work,
    assert_whole,
    at_point,
    commit,
    die,
    keys,
    prefixes,
    run_on,
)

GC_POINTS = [point for point in KILL_POINTS if point.startswith("gc.")]


def test_the_newest_stay_with_all_they_were_made_from_and_the_rest_goes_whole(store):
    first, second, third = (commit(store, "url_list", key) for key in ("u1", "u2", "u3"))
    images = commit(store, "images", "i1", inputs=[("night:url_list", first)])
    commit(store, "training_set", "t1", inputs=[("images", images)])
    commit(store, "images", "i2", inputs=[("url_list", third)])
    commit(store, "images", "i3", inputs=[("url_list", third)])
    found = find_garbage(store, ONE, LATER)
    assert sorted(found.versions) == ["images/i2", "url_list/u2"]
    assert keys(store, "url_list") == {"u1", "u2", "u3"}, "a look removes nothing"
    gone = collect_garbage(store, ONE, LATER)
    assert sorted(gone.versions) == ["images/i2", "url_list/u2"] and gone.num_bytes() == found.num_bytes() > 0
    assert keys(store, "url_list") == {"u1", "u3"} and keys(store, "images") == {"i1", "i3"}
    assert not store.names("url_list/u2") and not store.names("images/i2")
    assert not store.names("sweeps") and not store.names("gc")
    versions = Versions(store)
    assert [entry.number for entry in versions.history("url_list")] == [1, 2, 3]
    for reference in ("url_list@2", "url_list@u2"):
        with pytest.raises(UnknownVersion, match=r"version u2 was removed from .* by pangu gc at 2999-01-01T00:00:00Z"):
            versions.resolve(reference)
    with pytest.raises(UnknownVersion, match="was removed"):
        versions.roll_back(second)
    assert versions.latest("url_list") == third and artifact_table(store).row_count == 3
    assert not list(find_problems(store, find_versions(store, [])))


def test_what_an_alias_points_to_then_now_or_later_stays(store):
    made = [commit(store, "url_list", f"u{number}") for number in range(6)]
    versions = Versions(store)
    versions.promote(made[0], "champion", at="2020-01-01")
    versions.promote(made[1], "champion", at="2998-12-01")
    versions.promote(made[2], "champion", at="2999-02-01")
    versions.promote(made[3], "candidate", at="2010-01-01")
    assert keys(store, "url_list") - {v.partition("/")[2] for v in find_garbage(store, ONE, LATER).versions} == {
        "u1",
        "u2",
        "u3",
        "u5",
    }
    week = Retention(keep=1, keep_days=60)
    assert "url_list/u0" not in find_garbage(store, week, LATER).versions, "in these days the alias pointed there"


def test_versions_and_caches_that_facts_name_stay(store):
    named, other, cache = "a" * 24, "b" * 24, "c" * 24
    for key in (named, other):
        commit(store, "metrics", key)
    for name in (cache, "d" * 24):
        store.create(f"metrics/reference-{name}/parts/p.parquet", b"states")
    content = {"cards": {"slot": {"reference": {"content": cache + "0" * 40}}}}
    commit(store, "metrics", "e" * 24, facts=content)
    commit(store, "nights", "f" * 24, facts={"night": "2026-11-01", "models": {"champion": {"metrics": named}}})
    found = collect_garbage(store, ONE, LATER)
    assert found.versions == [f"metrics/{other}"] and found.unfinished == [f"metrics/reference-{'d' * 24}"]


def test_unfinished_work_is_left_alone_for_the_grace_and_goes_after_it(tmp_path):
    clock = Clock()
    store = ClockedStore(str(tmp_path / "store"), clock)
    with clock.ruling():
        commit(store, "url_list", "u1")
        work = Work(store, "url_list", ["a", "b"]).begin()
        work.step()
        clock.tick(23)
        assert not collect_garbage(store, ONE).unfinished
        clock.tick(2)
        found = collect_garbage(store, ONE)
        assert found.unfinished == [work.version] and prefixes(store) == {"url_list/u1": True}
        with pytest.raises(BeingRemoved, match="pangu gc removed stored parts of it"):
            run_on(work)
        assert not (tmp_path / "store" / work.version / "manifest.json").exists()
        assert_whole(store, work.retry().run())


def test_left_overs_of_killed_attempts_go_and_nothing_else(store):
    made = commit(store, "url_list", "u1", facts={"models": ["url_list/u1/rounds/01/tuned/files-2"]})
    stays = ["plan.json", "files-of", "scores.parquet", "rounds/01/tuned/files-2/model", "rounds/01/tuned/model.json"]
    goes = [
        *("parts/other.parquet", "summaries/other.json", "beside/other.tar", "begun/p.parquet/1-0000"),
        *(
            "begun-rows/p.parquet/1/0000/000001",
            "checkpoints/step-1/state.pt",
            "files-1/model",
            "rounds/01/files-3/model",
        ),
    ]
    for name in (*stays, *goes, "beside/p.tar"):
        store.create(f"url_list/u1/{name}", b"x")
    assert not find_garbage(store, ONE).leftovers, "within the grace nothing is left over"
    found = collect_garbage(store, ONE, LATER)
    assert sorted(found.leftovers["url_list/u1"]) == sorted(goes)
    left = {name.removeprefix("url_list/u1/") for name in store.names("url_list/u1")}
    assert left == {*stays, "beside/p.tar", "parts/p.parquet", "summaries/p.json", "manifest.json"}
    assert Versions(store).latest("url_list") == made


def test_a_commit_in_spite_of_a_mark_or_without_its_input_is_refused(store):
    first = commit(store, "url_list", "u1")
    store.create(mark_name("url_list/u1"), b"{}")
    with pytest.raises(BeingRemoved, match="url_list/u1 is being removed by pangu gc; try again"):
        commit(store, "images", "i1", inputs=[("url_list", first)])
    with pytest.raises(BeingRemoved):
        Versions(store).promote(first, "champion")
    store.delete(mark_name("url_list/u1"))
    store.delete("url_list/u1/manifest.json")
    with pytest.raises(UnknownVersion, match="url_list/u1 is not in the store"):
        commit(store, "images", "i1", inputs=[("url_list", first)])
    assert not keys(store, "images")


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("point", GC_POINTS)
def test_a_killed_gc_is_finished_by_the_next_after_the_grace(point, times, tmp_path):
    clock = Clock()
    store = ClockedStore(str(tmp_path / "store"), clock)
    with clock.ruling():
        for rows in ("abc", "bcd", "cde", "def"):
            Work(store, "url_list", list(rows)).run()
        Work(store, "url_list", ["torn"]).begin().step()
        clock.tick(100)
        with at_point(point, die, times), suppress(Died):
            collect_garbage(store, ONE)
        for version, is_committed in prefixes(store).items():
            if is_committed:
                assert_whole(store, Versions(store).find(*version.split("/")))
        held = store.names("gc")
        if held:
            with pytest.raises(JobError, match="another one began at 2026-01-05T04:00:00Z and has not ended"):
                collect_garbage(store, ONE)
        clock.tick(25)
        collect_garbage(store, ONE)
        assert list(prefixes(store).values()) == [True]
        assert not store.names("sweeps") and not store.names("gc")


def test_a_version_goes_before_what_it_was_made_from(tmp_path):
    """So that a gc killed between the two leaves no version whose inputs are gone."""
    store = ClockedStore(str(tmp_path / "store"), Clock())
    with store.clock.ruling():
        rows = commit(store, "url_list", "u1")
        images = commit(store, "images", "i1", inputs=[("url_list", rows)])
        commit(store, "training_set", "t1", inputs=[("images", images)])
        for artifact in ("url_list", "images", "training_set"):
            commit(store, artifact, f"{artifact[0]}2")
        for times, left in enumerate((["images/i1", "url_list/u1"], ["url_list/u1"], []), 1):
            store.clock.tick(24 * 30)
            with suppress(Died), at_point("gc.after_manifest", die):
                collect_garbage(store, ONE)
            there = {version for version, is_committed in prefixes(store).items() if is_committed}
            assert sorted(version for version in there if version.endswith("1")) == left, times


def test_a_gc_killed_amid_files_leaves_no_done_part_without_what_it_points_to(tmp_path):
    clock = Clock()
    store = ClockedStore(str(tmp_path / "store"), clock)
    with clock.ruling():
        for name in ("beside/p.tar", "parts/p.parquet", "rounds/01/tuned/files-1/m", "rounds/01/tuned/model.json"):
            store.create(f"raft_rounds/r1/{name}", b"x")
        clock.tick(100)
        with at_point("gc.after_files", die), suppress(Died):
            collect_garbage(store, ONE)
        assert store.names("raft_rounds/r1") == [
            "raft_rounds/r1/beside/p.tar",
            "raft_rounds/r1/rounds/01/tuned/files-1/m",
        ]


def test_a_folder_that_cannot_be_read_ends_the_gc_before_anything_is_removed(folder_store, monkeypatch):
    for key in ("u1", "u2"):
        commit(folder_store, "url_list", key)
    listed = Store.names
    monkeypatch.setattr(Store, "names", lambda self, prefix: [] if prefix == "url_list/log" else listed(self, prefix))
    with pytest.raises(StoreError, match=r"listing url_list/log/ .* nothing was removed"):
        collect_garbage(folder_store, ONE, LATER)
    assert keys(folder_store, "url_list") == {"u1", "u2"}


def test_many_names_go_at_once_whatever_they_are_called(store):
    names = [f"many/{name}" for name in ("a", "b[1]", "c*", "d/e?", "f")]
    for name in names:
        store.create(name, b"12")
    assert {name: stored.bytes for name, stored in store.listing("many").items()} == dict.fromkeys(names, 2)
    assert all(stored.at > "2026" for stored in store.listing("many").values())
    store.delete_all([*names[:4], "many/never there"])
    assert store.names("many") == ["many/f"]
