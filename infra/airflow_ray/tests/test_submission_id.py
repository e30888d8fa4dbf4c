import re

import pytest
from airflow_ray.submission_id import submission_id

FIELDS = {"dag_id": "rebuild_dataset", "run_id": "scheduled__2026-11-22", "task_id": "score", "map_index": -1}


def test_the_same_attempt_has_the_same_id():
    assert submission_id(**FIELDS, generation=0) == "rebuild_dataset-score-g0-5980a8d863afb8a1"


@pytest.mark.parametrize("name,value", [("dag_id", "x"), ("run_id", "x"), ("task_id", "x"), ("map_index", 0)])
def test_each_field_changes_the_id(name, value):
    assert submission_id(**{**FIELDS, name: value}, generation=0) != submission_id(**FIELDS, generation=0)


def test_generations_differ():
    assert len({submission_id(**FIELDS, generation=g) for g in range(20)}) == 20


def test_fields_that_read_alike_when_joined_are_kept_apart():
    one = submission_id(dag_id="a-b", run_id="r", task_id="c", map_index=-1, generation=0)
    other = submission_id(dag_id="a", run_id="r", task_id="b-c", map_index=-1, generation=0)
    assert one != other


def test_any_name_gives_a_short_file_and_url_safe_id():
    name = submission_id(dag_id="数据/../集" * 90, run_id="r", task_id="t:1 +", map_index=3, generation=12)
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,120}", name)


def test_a_negative_generation_is_refused():
    with pytest.raises(ValueError, match="generation: got -1"):
        submission_id(**FIELDS, generation=-1)
