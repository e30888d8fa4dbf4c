"""The trigger form: every preset's values pass their own schema, and what the form sends back is what the preset said."""

import jsonschema
import pytest
from airflow.sdk.exceptions import ParamValidationError

from ray_jobs.config import check_settings, load_preset, preset_names
from ray_jobs.job_configs import CONFIGS
from ray_jobs.trigger_form import fields_of, form_of, settings_of

NEEDED = {
    "register_url_list": {"path": "list.csv"},
    "register_pictures": {"model": "theirs"},
    "compare_models": {"night": "2026-11-27"},
}


@pytest.mark.parametrize("preset", preset_names())
def test_a_form_left_as_it_is_gives_the_presets_settings(preset):
    loaded = load_preset(preset)
    for job in CONFIGS:
        form = form_of((job,), loaded)
        values = {name: param.resolve() for name, param in form.items()}
        settings = settings_of(job, values) | NEEDED.get(job, {})
        assert check_settings(job, settings) == check_settings(job, loaded.settings(job) | NEEDED.get(job, {})), job


def test_every_field_has_a_type_that_a_form_can_draw():
    for job in CONFIGS:
        for name, field in fields_of(job).items():
            assert "type" in field and "$ref" not in str(field), (job, name, field)


def test_a_field_refuses_what_the_job_would_refuse():
    form = form_of(("generate_images",), load_preset("sample"))
    for name, wrong in (("sampler", "ancestral"), ("steps", 0), ("guidance", "much"), ("mark", {"watermark": "ink"})):
        with pytest.raises(ParamValidationError):
            form[f"generate_images.{name}"].resolve(wrong)
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, fields_of("generate_images")[name])
    assert form["generate_images.sampler"].resolve("unipc") == "unipc"


def test_a_variant_goes_over_the_job_and_a_task_over_both(tmp_path):
    path = tmp_path / "preset.toml"
    path.write_text(
        'extends = "sample"\n[generate_images]\nsteps = 20\n[nightly.generate_images]\nsteps = 6\n'
        '[nightly.generate_champion]\nmodel = "theirs"\n'
    )
    preset = load_preset(str(path))
    assert preset.settings("generate_images")["steps"] == 20
    assert preset.settings("generate_images", "nightly")["steps"] == 6
    assert form_of(("generate_images",), preset, "nightly")["generate_images.steps"].resolve() == 6
    assert preset.task_settings("generate_champion", "nightly") == {"model": "theirs"}
    assert preset.task_settings("generate_images", "nightly") == {}
