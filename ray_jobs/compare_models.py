"""compare_models: one night of champion and candidate: their numbers, the paired differences, and the gate's decision.

A night is an index over versions: models that did not change share their pictures and metrics with the night before.
"""

import math
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import pyarrow as pa

from pangu.evaluation.metrics import ALL
from pangu.evaluation.model_comparison import (
    GatePolicy,
    ModelDifference,
    decide_gate,
    paired_difference,
    unpaired_difference,
)
from ray_jobs.evaluation_cards import night_card
from ray_jobs.evaluation_nights import standard_error, strata_members
from ray_jobs.job import JobContext
from ray_jobs.job_configs import CompareModels
from ray_jobs.manifest import Manifest
from ray_jobs.parts import not_digested, read_rows, write_part
from ray_jobs.picture_scores import IMAGE_METRICS, per_prompt, read_picture_scores
from ray_jobs.store import Store

MODELS = ("champion", "candidate")
NIGHTS = pa.schema(
    [
        pa.field("night", pa.string(), nullable=False),
        pa.field("model", pa.string(), nullable=False),
        pa.field("metric", pa.string(), nullable=False),
        pa.field("stratum", pa.string(), nullable=False),
        pa.field("extractor", pa.string(), nullable=False),
        pa.field("value", pa.float64()),
        pa.field("low", pa.float64()),
        pa.field("high", pa.float64()),
        pa.field("n", pa.int64()),
        pa.field("note", pa.string()),
        pa.field("difference", pa.float64()),
        pa.field("difference_low", pa.float64()),
        pa.field("difference_high", pa.float64()),
        pa.field("num_compared", pa.int64()),
        pa.field("model_name", pa.string()),
        pa.field("model_version", pa.string()),
        pa.field("metrics", pa.string()),
        pa.field("generated_images", pa.string()),
        pa.field("prompts", pa.string()),
    ]
)
"""``night`` is the logical date (`in_utc`); ``model`` champion or candidate; low, high: 95 %. ``difference``: candidate
less champion, in the candidate's rows, paired over ``num_compared`` prompts (0: not paired). The last four columns are
keys of versions."""

_Number = tuple[str, str, str]


def run(context: JobContext[CompareModels]) -> Manifest:
    """Both models' rows, and the decision as a fact."""
    config = context.config
    versions = {model: context.input(f"{model}:metrics") for model in MODELS}
    differences = dict(compare(context.store, versions["champion"], versions["candidate"]))
    rows = [
        night_row(config.night, model, version, row, differences if model == "candidate" else {})
        for model, version in versions.items()
        for row in read_rows(context.store, version).to_pylist()
    ]
    gate = decide_gate(
        GatePolicy(config.gate),
        config.gate_metrics,
        [found for (_, stratum, _), found in differences.items() if stratum == ALL],
        rate=config.gate_rate,
        is_same_model=versions["champion"].digest == versions["candidate"].digest,
    )
    table = pa.Table.from_pylist(rows, schema=NIGHTS)
    summary = write_part(context.store, context.prefix, "00000-of-00001.parquet", table, not_digested("nights"))
    models = {model: model_facts(version) for model, version in versions.items()}
    decided = asdict(gate) | {"worse": list(gate.worse), "better": list(gate.better)}
    return context.commit_parts([summary], facts={"night": config.night, "models": models, "gate": decided})


def model_facts(version: Manifest) -> dict[str, Any]:
    """Which model a version of the metrics is of, and the versions on the way to it."""
    made, model, prompts = (version.facts.get(name, {}) for name in ("generation", "model", "prompts"))
    return {
        "name": model.get("name"),
        "version": model.get("version"),
        "metrics": version.key,
        "generated_images": version.inputs["generated_images"].key if "generated_images" in version.inputs else None,
        "prompts": prompts.get("version"),
        "generation": made,
    }


def night_row(
    night: str, model: str, version: Manifest, row: dict[str, Any], differences: dict[_Number, ModelDifference]
) -> dict[str, Any]:
    """One number of one model in one night."""
    facts = model_facts(version)
    found = differences.get((row["metric"], row["stratum"], row["extractor"]))
    compared = (
        {}
        if found is None
        else {
            "difference": found.value,
            "difference_low": found.low,
            "difference_high": found.high,
            "num_compared": found.num_pairs,
        }
    )
    own = {"night": night, "model": model, "model_name": facts["name"], "model_version": facts["version"]}
    return row | own | {name: facts[name] for name in ("metrics", "generated_images", "prompts")} | compared


def compare(store: Store, champion: Manifest, candidate: Manifest) -> Iterator[tuple[_Number, ModelDifference]]:
    """The difference of every number that both have, on sets that were made and read alike."""
    found = {model: _numbers(store, version) for model, version in zip(MODELS, (champion, candidate), strict=True)}
    pictures = {
        model: read_picture_scores(store, version).to_pylist() if "picture_scores" in version.facts else []
        for model, version in zip(MODELS, (champion, candidate), strict=True)
    }
    members = {model: strata_members(rows) for model, rows in pictures.items()}
    for number, row in found["candidate"].items():
        metric, stratum, label = number
        other = found["champion"].get(number)
        if other is None or night_card(champion.facts, label) != night_card(candidate.facts, label):
            continue
        difference = None
        if metric in IMAGE_METRICS:
            sides = (per_prompt(members[model].get(stratum, []), metric) for model in MODELS)
            difference = paired_difference(metric, *sides)
        errors = [standard_error(each) for each in (other, row)]
        if difference is None and all(error is not None for error in errors):
            sets = ((each["value"], float(error or 0.0)) for each, error in zip((other, row), errors, strict=True))
            difference = unpaired_difference(metric, *sets)
        if difference is not None and math.isfinite(difference.value):
            yield number, difference


def _numbers(store: Store, version: Manifest) -> dict[_Number, dict[str, Any]]:
    return {(row["metric"], row["stratum"], row["extractor"]): row for row in read_rows(store, version).to_pylist()}
