"""Airflow's trigger form from the jobs' configs: one field a setting, checked by its JSON schema, with the preset's value.

A setting is called ``job.setting``; what a form sends back becomes the job's settings again (`settings_of`).
"""

from collections.abc import Mapping
from typing import Any

from airflow.sdk import Param

from ray_jobs.artifacts import JOBS
from ray_jobs.config import Preset
from ray_jobs.job_configs import CONFIGS

GIVEN_BY_THE_RUN = ("night",)
"""Settings that the run's logical date decides: no field asks for them."""


def form_of(jobs: tuple[str, ...], preset: Preset, variant: str = "") -> dict[str, Param]:
    """The fields of these jobs, section by section. variant: a part of the preset that goes over the jobs' own."""
    params = {}
    for job in dict.fromkeys(jobs):
        given = preset.settings(job, variant)
        defaults = default_settings(job) | given
        for name, field in fields_of(job).items():
            params[f"{job}.{name}"] = Param(
                _complete(job, name, defaults.get(name)),
                section=f"{job}: {JOBS[job].does}",
                title=name,
                **field,
            )
    return params


def fields_of(job: str) -> dict[str, dict[str, Any]]:
    """Setting -> its JSON schema, with what it refers to put in place."""
    schema = CONFIGS[job].model_json_schema()
    shapes = schema.get("$defs", {})
    required = set(schema.get("required", ()))
    found = {}
    for name, raw in schema["properties"].items():
        if name in GIVEN_BY_THE_RUN:
            continue
        field = _flatten(raw, shapes)
        field.pop("default", None)
        field.pop("title", None)
        if name in required:
            field = _or_null(field)
        found[name] = field
    return found


def default_settings(job: str) -> dict[str, Any]:
    """What a job's settings are where nobody gives them, as JSON."""
    schema = CONFIGS[job].model_json_schema()
    shapes = schema.get("$defs", {})
    found = {}
    for name, raw in schema["properties"].items():
        if "default" in raw:
            found[name] = raw["default"]
        elif "$ref" in raw:
            found[name] = _defaults_of(shapes[raw["$ref"].rpartition("/")[2]])
    return found


def settings_of(job: str, params: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of one job out of a run's params; a field left empty that the job cannot do without is not given."""
    required = set(CONFIGS[job].model_json_schema().get("required", ()))
    fields = {name.removeprefix(f"{job}."): value for name, value in params.items() if name.startswith(f"{job}.")}
    return {name: value for name, value in fields.items() if value is not None or name not in required}


def _complete(job: str, name: str, value: Any) -> Any:  # noqa: ANN401 JSON
    """A table in full where the preset gives only some of its keys."""
    whole = default_settings(job).get(name)
    return whole | value if isinstance(whole, dict) and isinstance(value, dict) else value


def _defaults_of(shape: dict[str, Any]) -> dict[str, Any]:
    return {name: field["default"] for name, field in shape["properties"].items() if "default" in field}


def _flatten(schema: dict[str, Any], shapes: Mapping[str, Any]) -> dict[str, Any]:
    """The schema without references, and a choice between something and null as one type, which forms can draw."""
    if "$ref" in schema:
        shape = _flatten(shapes[schema["$ref"].rpartition("/")[2]], shapes)
        return shape | {name: value for name, value in schema.items() if name != "$ref"}
    choices = schema.get("anyOf")
    if choices and {"type": "null"} in choices and len(choices) == 2:
        kept = next(choice for choice in choices if choice != {"type": "null"})
        rest = {name: value for name, value in schema.items() if name != "anyOf"}
        return _or_null(_flatten(kept, shapes)) | rest
    flat = dict(schema)
    if "properties" in flat:
        flat["properties"] = {name: _flatten(field, shapes) for name, field in flat["properties"].items()}
    return flat


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    own = schema.get("type", [])
    types = own if isinstance(own, list) else [own]
    enum = {"enum": [*schema["enum"], None]} if "enum" in schema else {}
    return schema | {"type": [*types, "null"]} | enum
