"""evaluate_images: one decode and one pass per network over both sets of pictures, then metrics with intervals."""

from collections import Counter
from dataclasses import asdict
from typing import Any

import pyarrow as pa

from pangu.evaluation.metrics import evaluate_states
from ray_jobs.errors import JobError
from ray_jobs.evaluation_cards import describe_model, describe_sets
from ray_jobs.evaluation_networks import SCORER, load_networks
from ray_jobs.evaluation_parts import Side, measure_generated, measure_reference
from ray_jobs.evaluation_sides import GENERATED, strata_of
from ray_jobs.job import JobContext
from ray_jobs.job_configs import EvaluateImages
from ray_jobs.manifest import Manifest
from ray_jobs.parts import not_digested, write_part
from ray_jobs.picture_scores import picture_scores, store_picture_scores

METRICS = pa.schema(
    [
        ("metric", pa.string()),
        ("value", pa.float64()),
        ("low", pa.float64()),
        ("high", pa.float64()),
        ("n", pa.int64()),
        ("stratum", pa.string()),
        ("extractor", pa.string()),
        ("note", pa.string()),
    ]
)


def run(context: JobContext[EvaluateImages]) -> Manifest:
    """States of both sides on Ray Data, a part at a time, then the metrics here."""
    config = context.config
    networks = load_networks(config, context.plan.inputs.get("scores"), "cpu")
    reference = measure_reference(context, networks)
    generated = measure_generated(context)
    for name, side in ((GENERATED, generated), (config.reference, reference)):
        if side.num_measured < 2 and name != "none":
            raise JobError(f"evaluate_images: {side.num_measured} pictures in {name}; at least 2 are needed")
    rows = evaluate_states(
        networks.metrics,
        generated.states,
        reference.states,
        strata=strata_of(generated.rows.to_pylist()),
        reference_strata=strata_of(reference.rows.to_pylist()),
        seed=config.seed,
    )
    metrics = pa.Table.from_pylist([asdict(row) for row in rows], schema=METRICS)
    summary = write_part(context.store, context.prefix, "00000-of-00001.parquet", metrics, not_digested("metrics"))
    facts = facts_of(generated, reference) | describe_sets(context, networks, generated, reference)
    nearest_on = (generated.states.get(SCORER), reference.states.get(SCORER))
    pictures = picture_scores(generated.rows, generated.states, nearest_on, networks.cartoon_threshold)
    facts |= describe_model(context.store, context.input(GENERATED))
    facts["picture_scores"] = store_picture_scores(context.store, context.prefix, pictures)
    return context.commit_parts([summary], facts=facts)


def facts_of(generated: Side, reference: Side) -> dict[str, Any]:
    """How many pictures stand behind the numbers, and why the others do not: every row is in one of these counts."""
    facts: dict[str, Any] = {"generated": generated.num_measured, "reference": reference.num_measured}
    for name, side in (("generated", generated), ("reference", reference)):
        reasons = Counter(reason for reason in side.rows.column("reason").to_pylist() if reason)
        facts[f"{name}_left_out"] = dict(sorted(reasons.items()))
        facts[f"{name}_rejected"] = {
            network: dict(Counter(state.rejected.values())) for network, state in side.states.items() if state.rejected
        }
        facts[f"{name}_parts_read"] = side.parts_read
    return facts
