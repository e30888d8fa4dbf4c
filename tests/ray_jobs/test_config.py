"""Presets, overrides and what a wrong one is told."""

import pytest

from ray_jobs.artifacts import ARTIFACTS, JOBS, artifact_of, maker_of
from ray_jobs.config import check_settings, job_settings, load_preset, parse_assignments, preset_names
from ray_jobs.job_configs import CONFIGS


@pytest.mark.parametrize("preset", preset_names())
def test_every_preset_is_valid_for_every_job(preset):
    given = {"register_url_list": {"path": "list.csv"}, "register_pictures": {"model": "theirs"}}
    given["compare_models"] = {"night": "2026-11-27"}
    for job in CONFIGS:
        job_settings(job, preset, given.get(job, {}))


def test_jobs_and_configs_name_each_other():
    assert set(JOBS) == set(CONFIGS)
    for job in JOBS.values():
        assert job.gives in ARTIFACTS and {artifact_of(name) for name in job.takes} <= set(ARTIFACTS)
        assert maker_of(job.gives) == job or job.name == "register_pictures"
    assert maker_of("generated_images").name == "generate_images", "our own pictures come first"


def test_assignments_nest_and_read_json():
    assert parse_assignments(["a.b=3", "a.c=[1]", "d=text"]) == {"a": {"b": 3, "c": [1]}, "d": "text"}


@pytest.mark.parametrize(
    ("job", "settings", "message"),
    [
        ("generate_images", {"stepz": 3}, r"generate_images.stepz: unknown key; accepted are runtime, steps"),
        ("generate_images", {"steps": 0}, r"generate_images.steps = 0: input should be greater than or equal to 1"),
        ("register_url_list", {}, r"register_url_list.path: not given"),
        ("score_images", {"runtime": {"device": "tpu"}}, r"runtime.device = 'tpu': input should be 'auto', 'cpu'"),
        ("train_structure", {"steps": "many"}, r"train_structure.steps = 'many'"),
    ],
)
def test_a_wrong_setting_is_named_with_what_is_accepted(job, settings, message):
    with pytest.raises(ValueError, match=message):
        check_settings(job, settings)


@pytest.mark.parametrize("text", ["novalue", "=3"])
def test_an_assignment_without_a_key_or_value_is_refused(text):
    with pytest.raises(ValueError, match="--set"):
        parse_assignments([text])


def test_a_preset_extends_another(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('extends = "sample"\n[generate_images]\nsteps = 7\n[schedules]\nrebuild_dataset = "@hourly"\n')
    preset = load_preset(str(path))
    assert preset.jobs["generate_images"]["steps"] == 7
    assert preset.jobs["generate_images"]["guidance"] == load_preset("sample").jobs["generate_images"]["guidance"]
    assert preset.schedules == {"rebuild_dataset": "@hourly"}


@pytest.mark.parametrize(
    ("text", "message"),
    [("[nonsense]\n", "tables nonsense"), ("a = [", "not TOML"), ('extends = "none"\n', "neither a file")],
)
def test_a_wrong_preset_is_refused(tmp_path, text, message):
    path = tmp_path / "wrong.toml"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        load_preset(str(path))


def test_runtime_is_no_part_of_what_decides_the_rows():
    slow, fast = (CONFIGS["score_images"].model_validate({"runtime": {"workers": n}}) for n in (1, 8))
    assert slow.decisive() == fast.decisive()


def test_a_files_content_decides_and_not_its_name(tmp_path):
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text("https://example.org/1.png\n")
    first, second = (
        CONFIGS["register_url_list"].model_validate({"path": str(tmp_path / n)}) for n in ("a.txt", "b.txt")
    )
    assert first.decisive() == second.decisive()
    (tmp_path / "b.txt").write_text("https://example.org/2.png\n")
    assert first.decisive() != second.decisive()


@pytest.mark.parametrize("job", ["score_images", "train_texture", "generate_images"])
def test_threads_decide_where_models_run(job):
    one, two = (CONFIGS[job].model_validate({"runtime": {"threads": n}}) for n in (1, 2))
    assert one.decisive() != two.decisive()
