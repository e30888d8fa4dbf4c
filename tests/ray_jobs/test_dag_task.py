"""What a task of a DAG decides from its run: the night, the shard of the day, and the exact version of every input."""

from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from ray_jobs.dag_task import PanguJobTask, job_params, night_of
from ray_jobs.manifest import Manifest
from ray_jobs.register_prompts import shard_of
from ray_jobs.versions import Versions

pytestmark = pytest.mark.reliability(11)


def context(day, *, dated=True, results=None, **changes):
    """What Airflow hands to a task of a run on this November day, as its form was filled in."""
    due = datetime(2026, 11, day, 3, tzinfo=UTC)
    run = SimpleNamespace(logical_date=due if dated else None, run_after=due, run_type="backfill")
    params = {name: param.resolve() for name, param in job_params("register_prompts", "generate_images").items()}
    pull = SimpleNamespace(xcom_pull=lambda task_ids: {"key": (results or {})[task_ids]})
    return {"dag_run": run, "params": params | changes, "ti": pull}


def commit(store, artifact, key):
    fields = {"job": "j", "code_version": 1, "config": {}, "inputs": {}, "parts": ()}
    return Versions(store).commit(Manifest(artifact=artifact, key=key, digest=key, **fields))


def test_a_night_is_the_logical_date_and_by_hand_the_day():
    assert night_of(context(27)) == "2026-11-27T03:00:00Z"
    assert night_of(context(27, dated=False)) == "2026-11-27T00:00:00Z"
    task = PanguJobTask(job="compare_models", variant="nightly")
    assert task.job_settings(context(27))["night"] == "2026-11-27T03:00:00Z"


def test_the_form_goes_over_the_preset():
    task = PanguJobTask(job="generate_images")
    assert task.job_settings(context(1))["steps"] == 30
    assert task.job_settings(context(1, **{"generate_images.steps": 4}))["steps"] == 4
    with pytest.raises(ValueError, match=r"generate_images\.steps = 0"):
        task.job_settings(context(1, **{"generate_images.steps": 0}))


def test_days_in_a_row_take_every_shard_and_every_prompt_once():
    task, rows = PanguJobTask(job="register_prompts"), [{"prompt_id": f"p{n}"} for n in range(200)]
    wanted = [task.job_settings(context(day, **{"register_prompts.num_shards": 4})) for day in (9, 7, 8, 6)]
    shards = [(each["shard"], each["num_shards"]) for each in wanted]
    assert sorted(shards) == [(0, 4), (1, 4), (2, 4), (3, 4)]
    found = [row["prompt_id"] for shard, num in shards for row in shard_of(rows, shard, num)]
    assert sorted(found) == sorted(row["prompt_id"] for row in rows)
    assert task.job_settings(context(10, **{"register_prompts.num_shards": 4}))["shard"] == wanted[3]["shard"]
    with pytest.raises(ValueError, match="shard 4 of num_shards 4"):
        task.job_settings(context(1, **{"register_prompts.num_shards": 4, "register_prompts.shard": 4}))


def test_models_are_those_of_the_date_and_inputs_those_of_the_run(folder_store):
    versions = Versions(folder_store)
    for key in ("old", "new"):
        commit(folder_store, "experts", key)
        commit(folder_store, "prompts", f"prompts-{key}")
    versions.promote(versions.resolve("experts@old"), "champion", at="2026-11-01")
    versions.promote(versions.resolve("experts@new"), "champion", at="2026-11-10T03:00Z")
    inputs = {"prompts": "register_prompts", "experts": "@champion"}
    task = PanguJobTask(job="generate_images", task_id="generate_champion", inputs=inputs)
    for day, key in ((9, "old"), (10, "new")):
        given = context(day, results={"register_prompts": "prompts-old"})
        settings = task.job_settings(given)
        expected = {"prompts": "prompts@prompts-old", "experts": f"experts@{key}"}
        assert task.references(given, settings, folder_store) == expected
    other = task.job_settings(context(9, **{"generate_images.model": "theirs"}))
    given = context(9, results={"register_prompts": "prompts-old"})
    assert set(task.references(given, other, folder_store)) == {"prompts"}, "another model needs no alias"


def test_a_dated_reference_is_the_first_there_is_before_there_was_any(folder_store):
    for artifact in ("training_set", "images", "scores"):
        for key in ("first", "second"):
            commit(folder_store, artifact, key)
    task = PanguJobTask(
        job="evaluate_images", inputs={"generated_images": "generate_champion"}, dated=True, variant="nightly"
    )
    given = context(1, results={"generate_champion": "pictures"})
    found = task.references(given, task.job_settings(given), folder_store)
    assert found["generated_images"] == "generated_images@pictures"
    assert {found[artifact] for artifact in ("training_set", "images", "scores")} <= {
        f"{artifact}@first" for artifact in ("training_set", "images", "scores")
    }
