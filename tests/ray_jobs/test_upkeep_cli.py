"""The commands `pangu gc`, `rollback` and `verify` on a folder and on S3."""

import pyarrow as pa

from ray_jobs import cli, upkeep_cli
from ray_jobs.manifest import Manifest
from ray_jobs.parts import PartSummary, write_part
from ray_jobs.tar_shards import write_shard
from ray_jobs.verifying import find_problems
from ray_jobs.versions import Versions
from tests.ray_jobs.store_world import LATER, commit, keys


def run(store, monkeypatch, *arguments):
    """The command in this process."""
    monkeypatch.setattr("sys.argv", ["pangu", *arguments])
    monkeypatch.setattr(upkeep_cli.Store, "from_environment", lambda root=None: store)
    try:
        cli.main()
    except SystemExit as end:
        return end.code or 0
    return 0


def test_gc_says_what_would_go_and_removes_it_with_yes(store, monkeypatch, capsys):
    for number in range(4):
        commit(store, "url_list", f"u{number}")
    monkeypatch.setattr("ray_jobs.collecting.now", lambda: LATER)
    assert run(store, monkeypatch, "gc", "--keep", "2", "--reasons") == 0
    told = capsys.readouterr().out
    assert "nothing was removed; --yes removes it\n" in told
    assert "remove  url_list/u0\n" in told and "keep    url_list/u3: newest\n" in told
    assert keys(store, "url_list") == {"u0", "u1", "u2", "u3"}
    assert run(store, monkeypatch, "gc", "--keep", "2", "--yes") == 0
    assert keys(store, "url_list") == {"u2", "u3"}
    assert run(store, monkeypatch, "gc", "--keep", "0") == 2


def test_rollback_makes_an_earlier_version_the_newest(store, monkeypatch, capsys):
    for key in ("u1", "u2"):
        commit(store, "url_list", key)
    assert run(store, monkeypatch, "rollback", "url_list@1", "--why", "u2 lost captions") == 0
    assert "url_list@u1 is the newest again, as number 3" in capsys.readouterr().out
    history = Versions(store).history("url_list")
    assert [(entry.key, entry.why) for entry in history] == [("u1", ""), ("u2", ""), ("u1", "u2 lost captions")]
    assert run(store, monkeypatch, "rollback", "url_list@1") == 2
    assert "url_list@u1: already the newest; accepted is an earlier version" in capsys.readouterr().err
    assert run(store, monkeypatch, "rollback", "url_list@9") == 1
    assert "url_list@9: no such version" in capsys.readouterr().err


def test_verify_names_what_is_missing_or_differs(store, monkeypatch, capsys):
    for key in ("u1", "u2", "u3"):
        commit(store, "url_list", key)
    assert run(store, monkeypatch, "verify") == 0
    assert "all files of 3 versions exist with their sizes and digests" in capsys.readouterr().out
    data = store.read("url_list/u2/parts/p.parquet")
    for key in ("u1", "u2", "u3"):
        store.delete(f"url_list/{key}/parts/p.parquet")
    store.create("url_list/u2/parts/p.parquet", data[:-1] + bytes([data[-1] ^ 1]))
    store.create("url_list/u3/parts/p.parquet", data + b"x")
    assert run(store, monkeypatch, "verify") == 1
    told = capsys.readouterr().out
    assert "url_list/u1/parts/p.parquet: is missing" in told and "u2/parts/p.parquet: has sha256" in told
    assert f"url_list/u3/parts/p.parquet: has {len(data) + 1} bytes; its manifest states {len(data)}" in told
    assert "3 problems in 3 versions" in told
    assert run(store, monkeypatch, "verify", "--quick") == 1 and "2 problems" in capsys.readouterr().out
    assert run(store, monkeypatch, "verify", "url_list@2", "--quick") == 0


def test_verify_opens_the_tars_beside_parts(store):
    row = {"key": "a/0", "image": {"bytes": b"pixels", "path": "a-0.png"}, "reason": None}
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    schema = pa.schema([("key", pa.string()), ("image", image), ("reason", pa.string())])
    table = pa.Table.from_pylist([row | {"image": {"bytes": None, "path": "a-0.png"}}], schema=schema)
    made: PartSummary = write_part(store, "generated_images/g", "p.parquet", table, (), {"p.tar": write_shard([row])})
    fields = {"job": "generate_images", "code_version": 1, "config": {}, "inputs": {}, "digest": "d"}
    manifest = Manifest(
        artifact="generated_images", key="g", parts=(made.part,), facts={"container": "webdataset"}, **fields
    )
    Versions(store).commit(manifest)
    assert not list(find_problems(store, [manifest])) and not list(find_problems(store, [manifest], quick=True))
    store.delete("generated_images/g/beside/p.tar")
    for quick in (False, True):
        assert list(find_problems(store, [manifest], quick=quick)) == ["generated_images/g/beside/p.tar: is missing"]
    store.create("generated_images/g/beside/p.tar", write_shard([row | {"image": {"bytes": b"", "path": "other.png"}}]))
    (problem,) = find_problems(store, [manifest])
    assert "does not hold the pictures of p.parquet" in problem
