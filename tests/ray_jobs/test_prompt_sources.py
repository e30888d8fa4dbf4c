"""Prompt files as people write them, and published sets as they are published: every record ends as a row."""

import json
import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ray_jobs.generation_configs import RegisterPrompts
from ray_jobs.parts import read_rows
from ray_jobs.prompt_sources import read_prompt_file
from ray_jobs.register_prompts import MAX_PROMPT_CHARS, PROMPTS, read_prompts, to_rows
from ray_jobs.store import Store


def write(folder, name, data):
    path = folder / name
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def reasons(rows):
    return {row["prompt"]: row["reason"] for row in rows}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize("name", ["p.txt", "p.csv", "p.tsv", "p.jsonl"])
def test_every_kind_of_file_gives_the_same_prompts(tmp_path, name, encoding, ending):
    prompts = ["a red ball", "两只猫, 写着“你好”", 'a sign that says "2\u2028lines"']
    delimiter = "\t" if name.endswith("tsv") else ","
    if name.endswith("txt"):
        lines = [prompts[0], "", "   ", *prompts[1:]]
    elif name.endswith("jsonl"):
        lines = [json.dumps({"prompt": prompt}, ensure_ascii=False) for prompt in prompts] + [""]
    else:
        quoted = ['"' + prompt.replace('"', '""') + '"' for prompt in prompts]
        lines = [f"prompt{delimiter}category", *(f"{prompt}{delimiter}" for prompt in quoted), ""]
    path = write(tmp_path, name, ending.join(lines).encode(encoding))
    rows = read_prompts(path)
    assert [row["prompt"] for row in rows] == prompts
    assert [row["language"] for row in rows] == ["en", "zh", "en"]
    assert [row["strata"] for row in rows] == [[], ["text"], ["text"]]
    assert {row["reason"] for row in rows} == {None}


@pytest.mark.reliability(7)
def test_a_bad_record_keeps_its_row_and_its_reason(tmp_path):
    records = [
        {"prompt": "kept", "bucket": 3, "seed": 7, "negative": "blurry", "category": "Animals"},
        {"prompt": " "},
        {"prompt": None, "prompt_id": "none"},
        {"prompt": "x" * (MAX_PROMPT_CHARS + 1)},
        {"prompt": "nul\0inside"},
        {"prompt": "half a pair \ud83d"},
        {"prompt": "far", "bucket": 99},
        {"prompt": "which", "bucket": "wide"},
        {"prompt": "both", "bucket": 3, "size": "64x64"},
        {"prompt": "sized", "size": "640 X 480"},
        {"prompt": "unsized", "size": "big"},
        {"prompt": "seed", "seed": -1},
        {"prompt": "tongue", "language": "en; drop"},
        {"prompt": "named", "prompt_id": "a\nb"},
        {"prompt": "123"},
    ]
    lines = [json.dumps(record) for record in records] + ["{not json", "[1, 2]", '"text"']
    rows = read_prompts(write(tmp_path, "p.jsonl", "\n".join(lines)))
    assert len(rows) == len(lines) and len({row["prompt_id"] for row in rows}) == len(rows)
    table = pa.Table.from_pylist(rows, schema=PROMPTS)
    assert table.num_rows == len(lines)
    found = reasons(rows)
    assert found["kept"] is None and found["sized"] is None and found["123"] is None
    assert rows[0]["seed"] == 7 and rows[0]["negative"] == "blurry" and rows[0]["category"] == "Animals"
    assert rows[9]["size"] == "640x480" and rows[-4]["language"] == "und"
    assert [row["reason"] for row in rows[1:9]] == [
        "no_prompt",
        "no_prompt",
        "prompt_too_long",
        "nul_in_prompt",
        "not_unicode_prompt",
        "unknown_bucket",
        "unknown_bucket",
        "bucket_and_size",
    ]
    assert [row["reason"] for row in rows[10:14]] == ["unknown_size", "bad_seed", "unknown_language", "bad_prompt_id"]
    assert [row["reason"] for row in rows[-3:]] == ["unreadable_row"] * 3
    assert len(rows[3]["prompt"]) == MAX_PROMPT_CHARS


def test_bytes_that_are_no_text_spoil_their_own_row_only(tmp_path):
    rows = read_prompts(write(tmp_path, "p.txt", b"a ball\n\xff\xfeb\xe9\na box\n"))
    assert [row["reason"] for row in rows] == [None, "not_unicode_prompt", None]


def test_a_csv_row_with_too_many_cells_and_a_huge_one_are_rows(tmp_path):
    huge = "y" * 300_000
    rows = read_prompts(write(tmp_path, "p.csv", f"prompt,style\na,b,c,d\n{huge},cartoon\n,,\nok,\n"))
    assert [row["reason"] for row in rows] == ["unreadable_row", "prompt_too_long", None]
    assert rows[-1]["style"] is None


@pytest.mark.reliability(6)
def test_the_same_id_twice_is_refused_whatever_the_order():
    records = [
        {"prompt": "one", "prompt_id": "a"},
        {"prompt": "two", "prompt_id": "a"},
        {"prompt": "two", "prompt_id": "b"},
        {"prompt": "same"},
        {"prompt": "same"},
        {"prompt": "same", "bucket": 2},
        {"prompt": "three", "prompt_id": "a~2"},
    ]
    expected = None
    for seed in range(6):
        random.Random(seed).shuffle(records)
        rows = to_rows([dict(record) for record in records])
        assert len({row["prompt_id"] for row in rows}) == len(rows) == 7
        found = sorted(json.dumps(row, sort_keys=True) for row in rows)
        expected = expected or found
        assert found == expected
    refused = [row for row in rows if row["reason"]]
    assert [row["reason"] for row in refused] == ["duplicate_prompt_id: a"] and refused[0]["prompt_id"] == "a~3"


def test_a_side_by_side_list_keeps_what_each_model_made(tmp_path):
    text = "prompt,PanGu-Draw,SDXL\na red ball,ours/1.png,theirs/1.png\na box,,theirs/2.png\n"
    rows = read_prompts(write(tmp_path, "list.csv", text))
    models = [json.loads(row["models"]) for row in rows]
    assert models == [{"PanGu-Draw": "ours/1.png", "SDXL": "theirs/1.png"}, {"SDXL": "theirs/2.png"}]


def test_parquet_with_lists_of_its_own(tmp_path):
    pq.write_table(pa.table({"prompt": ["a ball", None], "bucket": [1.0, None]}), tmp_path / "p.parquet")
    rows = read_prompts(tmp_path / "p.parquet")
    assert [(row["bucket"], row["reason"]) for row in rows] == [(1, None), (None, "no_prompt")]


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("p.xlsx", "prompt", r"has suffix '\.xlsx'; accepted are \.txt, \.csv, \.tsv, \.jsonl, \.parquet"),
        ("p.csv", "text,style\na,b\n", r"has no column 'prompt'; it has style, text"),
        ("p.csv", "", r"holds no prompt"),
        ("p.txt", "\n \n", r"holds no prompt"),
        ("p.parquet", "no parquet", r"cannot be read"),
    ],
)
def test_a_file_that_is_no_prompt_file_is_refused(tmp_path, name, data, said):
    with pytest.raises(ValueError, match=said):
        read_prompt_file(write(tmp_path, name, data))
    with pytest.raises(ValueError, match="cannot be read"):
        read_prompt_file(tmp_path / "absent.txt")


def test_sources_that_exclude_each_other_are_refused(tmp_path):
    with pytest.raises(ValueError, match="path and prompt_set are both given"):
        RegisterPrompts(path="a.txt", prompt_set="geneval", prompt_folder="b")
    with pytest.raises(ValueError, match="prompt_set needs prompt_folder"):
        RegisterPrompts(prompt_set="geneval")


@pytest.fixture
def register(tmp_path):
    """register(**settings) -> (store, outcome), without Ray: this job needs none."""
    from ray_jobs.config import job_settings
    from ray_jobs.job import plan_job, run_job

    store = Store(str(tmp_path / "store"))

    def run(**settings):
        plan = plan_job("register_prompts", job_settings("register_prompts", "sample", settings), {}, store)
        return store, run_job(plan, store)

    return run


def write_geneval(folder, extra=""):
    folder.mkdir()
    rows = [{"tag": "counting", "include": [{"class": "dog", "count": 2}], "prompt": f"{n} dogs"} for n in range(30)]
    return write(folder, "geneval_metadata.jsonl", "\n".join(map(json.dumps, rows)) + extra)


def test_a_set_is_known_by_the_content_of_its_file(register, tmp_path):
    folder, other = tmp_path / "one", tmp_path / "two"
    write_geneval(folder)
    write_geneval(other)
    store, first = register(prompt_set="geneval", prompt_folder=str(folder))
    version = first.manifest.facts["prompt_set_version"]
    assert first.manifest.facts["source"] == f"geneval@{version}"
    assert register(prompt_set="geneval", prompt_folder=str(other))[1].skipped, "where it stands does not count"
    rows = read_rows(store, first.manifest).to_pylist()
    assert {row["category"] for row in rows} == {"counting"}
    assert json.loads(rows[0]["attributes"]) == {"include": [{"class": "dog", "count": 2}]}
    with pytest.raises(ValueError, match=f"prompt_set_version = '0000': .* has version {version}"):
        register(prompt_set="geneval", prompt_folder=str(folder), prompt_set_version="0000")
    with pytest.raises(ValueError, match="is not the partiprompts file"):
        register(prompt_set="partiprompts", prompt_folder=str(folder))


def test_some_of_a_set_are_the_same_ones_every_time(register, tmp_path):
    folder = tmp_path / "set"
    write_geneval(folder)
    ids = []
    for most in (10, 20):
        store, outcome = register(prompt_set="geneval", prompt_folder=str(folder), max_prompts=most)
        ids.append({row["prompt_id"] for row in read_rows(store, outcome.manifest).to_pylist()})
    assert [len(each) for each in ids] == [10, 20] and ids[0] < ids[1]


SETS = {
    "partiprompts": (1632, {"en", "und"}),
    "geneval": (553, {"en"}),
    "coco_val2014": (5000, {"en"}),
    "coco_val2017": (25_014, {"en"}),
    "coco_cn": (4712, {"zh"}),
    "coco_cn_pairs": (698, {"en", "zh"}),
}


@pytest.mark.shared_data
@pytest.mark.parametrize("name", SETS)
def test_the_published_sets_are_read_whole(name, shared_data):
    from ray_jobs.prompt_sources import read_prompt_set

    rows = to_rows(read_prompt_set(name, shared_data / "prompts"))
    number, languages = SETS[name]
    assert len(rows) == len({row["prompt_id"] for row in rows}) == number
    refused = [row for row in rows if row["reason"]]
    assert not refused, refused[:3]
    assert {row["language"] for row in rows} <= languages
    strata = {stratum for row in rows for stratum in row["strata"]}
    assert strata == ({"small faces", "text"} if name != "geneval" else set())
    if name == "partiprompts":
        assert len({row["category"] for row in rows}) == 12
        assert sum("text" in row["strata"] for row in rows) >= 91
