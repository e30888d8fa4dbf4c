"""A folder of pictures becomes a URL list that the reader takes."""

import json

import pytest

from curation.sample.picture_folder import write_folder_list
from curation.url_list import read_url_list


def test_every_picture_becomes_a_url_with_its_captions(tmp_path):
    rows = [{"path": "a b/1.jpg", "captions_en": ["a cat"], "captions_zh": ["猫"], "licence": "CC0"}, {"path": "2.png"}]
    (tmp_path / "pairs.jsonl").write_text("\n".join(json.dumps(row) for row in rows) + "\n")
    assert write_folder_list(tmp_path / "pairs.jsonl", "http://127.0.0.1:8322/", tmp_path / "list.jsonl") == 2
    table = read_url_list(tmp_path / "list.jsonl").to_pylist()
    assert {row["url"] for row in table} == {"http://127.0.0.1:8322/a%20b/1.jpg", "http://127.0.0.1:8322/2.png"}
    assert sorted(row["licence"] for row in table) == ["CC0", "unknown"]


def test_a_line_without_a_path_is_named(tmp_path):
    (tmp_path / "pairs.jsonl").write_text('{"path": "1.jpg"}\n{"file": "2.jpg"}\n')
    with pytest.raises(ValueError, match="line 2: KeyError"):
        write_folder_list(tmp_path / "pairs.jsonl", "http://127.0.0.1:1", tmp_path / "list.jsonl")
