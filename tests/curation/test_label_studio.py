import json

import pytest

from curation.label_studio import LabelStudioNames, read_label_studio

NAMES = LabelStudioNames(licence="CC-BY-4.0")


def area(text, name="enriched"):
    return {"from_name": name, "to_name": "prompt", "type": "textarea", "value": {"text": text}}


TASKS = [
    {
        "id": 1,
        "data": {"prompt": "a red ball"},
        "annotations": [
            {"completed_by": 7, "result": [area(["a red ball on a sandy beach at noon"]), area(["no"], "comment")]},
            {
                "completed_by": {"id": 8, "email": "somebody@example.org"},
                "result": [area(["a red ball", "in deep snow"])],
            },
            {"completed_by": 9, "was_cancelled": True, "result": []},
        ],
    },
    {
        "id": 2,
        "data": {"prompt": "红色的球"},
        "annotations": [{"completed_by": 7, "result": [area(["沙滩上一个红色的球"])]}],
    },
    {"id": 3, "data": {"prompt": "a box"}, "annotations": [{"completed_by": 7, "result": []}]},
    {"id": 4, "data": {"prompt": "never labelled"}, "annotations": []},
]


def read(tmp_path, tasks, names=NAMES):
    path = tmp_path / "export.json"
    path.write_text(json.dumps(tasks, ensure_ascii=False), encoding="utf-8")
    return read_label_studio(path, names)


def test_an_export_gives_a_row_an_annotation_and_names_no_mail_address(tmp_path):
    rows = read(tmp_path, TASKS)
    assert [row.fault for row in rows] == [None, None, None, "enriched: missing"]
    assert rows[0].fields["enriched"] == "a red ball on a sandy beach at noon"
    assert rows[1].fields["enriched"] == "a red ball in deep snow" and rows[1].fields["author"] == "annotator 8"
    assert rows[2].fields["language"] == "zh" and {row.fields["licence"] for row in rows} == {"CC-BY-4.0"}
    assert "example.org" not in str(rows)


def test_the_min_format_and_other_names_are_read(tmp_path):
    names = LabelStudioNames(licence="CC0-1.0", short="text", enriched=("long",))
    tasks = [{"id": 1, "text": "a red ball", "long": "a red ball under a night sky", "annotator": 3}]
    [row] = read(tmp_path, tasks, names)
    assert row.fault is None and row.pair.author == "annotator 3" and row.pair.enriched.endswith("night sky")


def test_what_is_no_export_is_refused(tmp_path):
    with pytest.raises(ValueError, match="accepted is a JSON list of tasks"):
        read(tmp_path, {"tasks": []})
    (tmp_path / "torn.json").write_text("[")
    with pytest.raises(ValueError, match="no Label Studio export"):
        read_label_studio(tmp_path / "torn.json", NAMES)
