import json
from dataclasses import asdict

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curation.annotated_pairs import FIELDS, check_rows, fault_of, read_pair_file, starter_pairs, write_pair_file
from pangu.prompt_guard import GuardLimits, enhancement_fault, refusal

GOOD = {
    "short": "a red ball",
    "enriched": "a red ball on a sandy beach at noon",
    "language": "en",
    "author": "somebody",
    "licence": "CC0-1.0",
}


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("short", "", "short: missing"),
        ("author", None, "author: missing"),
        ("language", "fr", "language: 'fr'"),
        ("licence", "unknown", "licence: 'unknown'"),
        ("enriched", "沙滩上的一个红色的球，阳光明媚", "enriched: reads as zh"),
        ("short", "红色的球", "short: reads as zh"),
        ("enriched", "red ball", "enriched: no longer"),
        ("enriched", "a red ball " * 400, "enriched: 4399 characters"),
    ],
)
def test_each_fault_is_named_by_its_field(field, value, said):
    assert check_rows([GOOD])[0].fault is None
    [row] = check_rows([GOOD | {field: value}])
    assert row.fault.startswith(said)


def test_a_duplicate_names_the_row_it_repeats():
    rows = check_rows([GOOD, GOOD | {"short": "ball"}, GOOD | {"enriched": GOOD["enriched"].upper()}])
    assert [row.fault for row in rows] == [None, None, "duplicate: of row 1"]
    assert [row.number for row in rows] == [1, 2, 3]


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".tsv", ".parquet"])
def test_every_format_gives_the_same_rows(suffix, tmp_path):
    path = tmp_path / f"pairs{suffix}"
    records = [GOOD, GOOD | {"short": "", "enriched": 'a, b and "c" on a table'}]
    if suffix == ".jsonl":
        path.write_text("\n".join(map(json.dumps, records)))
    elif suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(records), path)
    else:
        import csv

        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, FIELDS, delimiter="\t" if suffix == ".tsv" else ",")
            writer.writeheader()
            writer.writerows(records)
    rows = read_pair_file(path)
    assert [row.fault for row in rows] == [None, "short: missing"]
    assert asdict(rows[0].pair) == GOOD and rows[1].fields["enriched"] == records[1]["enriched"]


def test_a_line_that_is_no_json_is_a_row_with_a_fault_and_a_wrong_file_an_error(tmp_path):
    path = tmp_path / "pairs.jsonl"
    path.write_text(json.dumps(GOOD) + "\n{torn\n[1]\n")
    assert [row.fault for row in read_pair_file(path)] == [None, "short: missing", "short: missing"]
    with pytest.raises(ValueError, match=r"accepted are \.jsonl"):
        read_pair_file(tmp_path / "pairs.xlsx")
    (tmp_path / "broken.parquet").write_bytes(b"no parquet")
    with pytest.raises(ValueError, match=r"broken\.parquet is not Parquet"):
        read_pair_file(tmp_path / "broken.parquet")


def test_the_starter_set_is_large_bilingual_varied_and_keeps_what_it_names(tmp_path):
    pairs = starter_pairs()
    assert sum(pair.language == "en" for pair in pairs) >= 100 and sum(pair.language == "zh" for pair in pairs) >= 100
    assert len({pair.short for pair in pairs}) == len(pairs) and {pair.licence for pair in pairs} == {"CC0-1.0"}
    for pair in pairs:
        assert fault_of(asdict(pair)) is None
        assert refusal(pair.short) is None
        assert enhancement_fault(pair.short, pair.enriched, pair.language, GuardLimits()) is None, pair.short
    openings = {pair.enriched[:12] for pair in pairs}
    assert len(openings) > 0.95 * len(pairs), "written one by one, not by a template"
    write_pair_file(tmp_path / "out.jsonl", pairs)
    assert [row.pair for row in read_pair_file(tmp_path / "out.jsonl")] == pairs
