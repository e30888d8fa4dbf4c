"""Presets and overrides: TOML tables, one a job, then ``--set key=value``; what comes out is checked by the job's model."""

import json
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from ray_jobs.job_configs import CONFIGS, JobConfig

PRESETS = Path(__file__).parent / "presets"
VARIANTS = ("nightly",)
"""Tables of a preset that hold settings of jobs once more, for one DAG."""


def preset_names() -> list[str]:
    """The presets that ship with the platform."""
    return sorted(path.stem for path in PRESETS.glob("*.toml"))


@dataclass(frozen=True)
class Preset:
    """Settings of every job, and when the scheduled DAGs run (cron text; absent: only by hand or by assets).

    variants: another table of settings by job or task, for a DAG that runs the same jobs in its own way (``nightly``).
    notifiers: whom alarms are told to, each ``class`` and arguments.
    """

    jobs: Mapping[str, Mapping[str, Any]]
    schedules: Mapping[str, str]
    variants: Mapping[str, Mapping[str, Mapping[str, Any]]]
    notifiers: tuple[Mapping[str, Any], ...] = ()

    def settings(self, job: str, variant: str = "") -> dict[str, Any]:
        """The settings of a job, in a variant's way where it has one."""
        return _merge(self.jobs[job], self.variants.get(variant, {}).get(job, {}))

    def task_settings(self, task_id: str, variant: str = "") -> dict[str, Any]:
        """What a variant wants of one task over its job's settings: ``[nightly.generate_champion]``."""
        found = self.variants.get(variant, {}).get(task_id, {})
        return {} if task_id in CONFIGS else dict(found)


def load_preset(preset: str) -> Preset:
    """A preset: a name that ships, or a path to a TOML file, which may extend another by ``extends = "name"``."""
    tables = _read_tables(preset)
    schedules, notifiers = tables.pop("schedules", {}), tables.pop("notifiers", [])
    shared = tables.pop("every_job", {})
    variants = {name: tables.pop(name) for name in VARIANTS if name in tables}
    stray = set(tables) - set(CONFIGS)
    if stray:
        raise ValueError(f"preset: {preset} has tables {', '.join(sorted(stray))}; accepted are {', '.join(CONFIGS)}")
    jobs = {job: _merge(shared, tables.get(job, {})) for job in CONFIGS}
    return Preset(jobs, schedules, variants, tuple(notifiers))


def _read_tables(preset: str) -> dict[str, Any]:
    path = PRESETS / f"{preset}.toml" if preset in preset_names() else Path(preset)
    if not path.is_file():
        raise ValueError(f"preset: {preset!r} is neither a file nor one of {', '.join(preset_names())}")
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"preset: {path} is not TOML: {error}") from None
    below = tables.pop("extends", None)
    return _merge(_read_tables(str(below)), tables) if below else tables


def parse_assignments(assignments: Iterable[str]) -> dict[str, Any]:
    """``a.b=3`` strings to nested values. A value is read as JSON where it is JSON, else as text."""
    result: dict[str, Any] = {}
    for assignment in assignments:
        path, equals, raw = assignment.partition("=")
        if not equals or not path:
            raise ValueError(f"--set: {assignment!r} has no '='; accepted is key=value or key.subkey=value")
        try:
            value = json.loads(raw)
        except json.JSONDecodeError:
            value = raw
        *parents, leaf = path.split(".")
        table = result
        for parent in parents:
            table = table.setdefault(parent, {})
            if not isinstance(table, dict):
                raise ValueError(f"--set: {path!r} goes below {parent!r}, which was set to a value")
        table[leaf] = value
    return result


def job_settings(job: str, preset: str, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of one job: preset, then overrides. Checked: a ValueError names field, value and what is accepted."""
    if job not in CONFIGS:
        raise ValueError(f"job: {job!r} is unknown; accepted are {', '.join(CONFIGS)}")
    settings = _merge(load_preset(preset).jobs[job], overrides)
    check_settings(job, settings)
    return settings


def check_settings(job: str, settings: Mapping[str, Any]) -> JobConfig:
    """The job's frozen config, or a ValueError with one clause for each wrong field."""
    try:
        return CONFIGS[job].model_validate(dict(settings))
    except ValidationError as error:
        raise ValueError("; ".join(_explain(job, problem) for problem in error.errors())) from None


def merge_settings(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with others over them, table by table."""
    return _merge(below, above)


def _explain(job: str, problem: ErrorDetails) -> str:
    name = ".".join(str(step) for step in problem["loc"]) or "config"
    if problem["type"] == "extra_forbidden":
        return f"{job}.{name}: unknown key; accepted are {', '.join(CONFIGS[job].model_fields)}"
    if problem["type"] == "missing":
        return f"{job}.{name}: not given; set it in the preset or with --set {name}=VALUE"
    return f"{job}.{name} = {problem['input']!r}: {problem['msg'][0].lower()}{problem['msg'][1:]}"


def _merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for name, value in above.items():
        old = merged.get(name)
        merged[name] = (
            _merge(old, value) if isinstance(old, dict) and isinstance(value, dict) and name != "prefixes" else value
        )
    return merged
