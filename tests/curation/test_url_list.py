import json
import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curation.records import URL_LIST
from curation.url_list import UrlListColumns, make_url_list, read_url_list, record_key

ROWS = [
    {"url": "http://a.test/1.png", "captions_en": ["one", "uno"], "captions_zh": ["一"], "licence": "CC0"},
    {"url": "https://a.test/2.png", "caption": "two"},
    {"url": "https://a.test/3.png", "caption": "三只猫"},
]


def write(path, rows) -> None:
    names = ["url", "caption", "captions_en", "captions_zh", "licence"]
    if path.suffix == ".parquet":
        table = {name: [row.get(name) for row in rows] for name in names}
        pq.write_table(pa.table(table), path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    elif path.suffix == ".txt":
        path.write_text("# a comment\n" + "".join(str(row["url"]) + "\n" for row in rows))
    else:
        import csv

        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, names, delimiter="," if path.suffix == ".csv" else "\t")
            writer.writeheader()
            for row in rows:
                writer.writerow({k: json.dumps(v) if isinstance(v, list) else v for k, v in row.items()})


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl", "parquet"])
def test_formats_agree(tmp_path, suffix: str) -> None:
    path = tmp_path / f"list.{suffix}"
    write(path, ROWS)
    table = read_url_list(path)
    assert table.schema == URL_LIST
    assert table.equals(make_url_list(ROWS))
    by_url = {row["url"]: row for row in table.to_pylist()}
    first = by_url["http://a.test/1.png"]
    assert (first["captions_en"], first["captions_zh"], first["licence"]) == (["one", "uno"], ["一"], "CC0")
    assert by_url["https://a.test/3.png"]["captions_zh"] == ["三只猫"]
    assert by_url["https://a.test/2.png"]["licence"] == "unknown"


def test_plain_lines(tmp_path) -> None:
    write(tmp_path / "list.txt", ROWS)
    assert sorted(read_url_list(tmp_path / "list.txt")["url"].to_pylist()) == sorted(row["url"] for row in ROWS)


def test_columns_may_have_other_names(tmp_path) -> None:
    (tmp_path / "list.csv").write_text("link,text\nhttp://a.test/1.png,hello\n")
    table = read_url_list(tmp_path / "list.csv", UrlListColumns(url="link", caption="text"))
    assert table["captions_en"].to_pylist() == [["hello"]]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("list.csv", "link,text\na,b\n", "column 'url' is missing; the columns there are link, text"),
        ("list.jsonl", '{"link": 1}\n', "column 'url' is missing; the columns there are link"),
        ("list.csv", "", "the columns there are none"),
        ("list.xml", "<a/>", "unknown format 'xml'; known are csv, tsv, jsonl, parquet, txt"),
        ("list", "", "unknown format ''"),
        ("list.parquet", "no parquet", "cannot be read"),
        ("list.csv", 'url,caption\n"a', "cannot be read"),
        ("list.txt", b"\xff\xfe\xff", "cannot be read"),
        ("missing.csv", None, "cannot be read"),
    ],
)
def test_bad_list_is_one_clear_error(tmp_path, name: str, content, message: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=message):
        read_url_list(tmp_path / name)


@pytest.mark.reliability(7)
def test_bad_rows_are_rows_with_a_reason(tmp_path) -> None:
    lines = ['{"url": "http://a.test/1"}', "not json", "[1, 2]", '{"url": ""}', '{"url": null}', '{"url": "ftp://a.test/x"}',
             '{"url": "http://"}', '{"url": "http://[::1"}', '{"url": "http://a.test/2", "sha256": "abc"}']  # fmt: skip
    (tmp_path / "list.jsonl").write_text("\n".join(lines))
    rows = read_url_list(tmp_path / "list.jsonl").to_pylist()
    assert len(rows) == len(lines) == len({row["key"] for row in rows})
    reasons = sorted(row["reason"] or "kept" for row in rows)
    assert reasons == sorted(["kept", *["malformed_row"] * 2, *["invalid_url"] * 5, "invalid_sha256"])


@pytest.mark.reliability(6)
def test_one_row_of_a_url_is_kept_with_all_captions_whatever_the_order() -> None:
    rows = [
        {"url": "http://a.test/1", "caption": "short"},
        {"url": "http://a.test/1", "captions_en": ["long", "longer"]},
        {"url": "http://a.test/1", "caption": "short"},
        {"url": "http://a.test/2", "caption": "other"},
    ]
    table = make_url_list(rows)
    kept = {row["url"]: row for row in table.to_pylist() if row["reason"] is None}
    assert kept["http://a.test/1"]["captions_en"] == ["long", "longer", "short"]
    assert kept["http://a.test/1"]["key"] == record_key("http://a.test/1")
    assert sorted(row["reason"] for row in table.to_pylist() if row["reason"]) == ["duplicate_url"] * 2
    for seed in range(5):
        assert make_url_list(random.Random(seed).sample(rows, len(rows))).equals(table)
