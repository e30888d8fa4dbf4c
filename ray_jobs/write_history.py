"""write_history: every night's numbers in one Parquet table, each with what the alarm decided on it.

The table is a function of the nights alone: it is the same in whatever order they were run or backfilled.
"""

from typing import Any

import pyarrow as pa

from pangu.evaluation.regression import AlarmRow, AlarmSettings, alarm_history
from ray_jobs.compare_models import NIGHTS
from ray_jobs.evaluation_nights import night_values
from ray_jobs.job import JobContext
from ray_jobs.job_configs import WriteHistory
from ray_jobs.manifest import Manifest
from ray_jobs.parts import not_digested, read_rows, write_part

_DECIDED = ("baseline_mean", "baseline_low", "baseline_high", "p_value", "adjusted_p", "effect", "effect_size")
HISTORY = pa.schema(
    [
        *NIGHTS,
        pa.field("is_alarm", pa.bool_(), nullable=False),
        *(pa.field(name, pa.float64()) for name in _DECIDED),
        pa.field("num_nights", pa.int64()),
        pa.field("num_pairs", pa.int64()),
        pa.field("alarm_note", pa.string()),
        pa.field("night_version", pa.string()),
    ]
)
"""One row a night, model, metric, network and stratum, nights in order. ``baseline_low``, ``baseline_high``: where a quiet
night lies. ``num_nights``: earlier nights that it was held against, null where the number is not watched;
``num_pairs``: prompts that were paired, 0 where it was not. ``night_version``: key of the version of ``nights``."""


def run(context: JobContext[WriteHistory]) -> Manifest:
    """All nights, their alarms, one part."""
    nights = dict(sorted((manifest.facts["night"], manifest) for manifest in context.plan.inputs.values()))
    newest = dict(list(nights.items())[-context.config.num_nights :])
    values = night_values(newest.values(), context.store, context.config.strata)
    decided = {
        (row.night, row.model, row.metric, row.stratum, row.extractor): row
        for row in alarm_history(values, alarm_settings(context.config))
    }
    rows = []
    for night, version in newest.items():
        for row in read_rows(context.store, version).to_pylist():
            found = decided.get((night, row["model"], row["metric"], row["stratum"], row["extractor"]))
            rows.append(row | alarm_columns(found) | {"night_version": version.key})
    table = pa.Table.from_pylist(rows, schema=HISTORY)
    summary = write_part(context.store, context.prefix, "00000-of-00001.parquet", table, not_digested("history"))
    alarms = [f"{row.night} {row.model} {row.metric} {row.stratum}" for row in decided.values() if row.is_alarm]
    facts = {"nights": {night: version.key for night, version in newest.items()}, "alarms": alarms}
    return context.commit_parts([summary], facts=facts)


def alarm_settings(config: WriteHistory) -> AlarmSettings:
    """The alarm's own settings."""
    return AlarmSettings(
        false_positive_rate=config.false_positive_rate,
        window=config.window,
        min_nights=config.min_nights,
        min_effect=config.min_effect,
        baseline_from=config.baseline_from,
        worse=config.worse,
    )


def alarm_columns(row: AlarmRow | None) -> dict[str, Any]:
    """What was decided on a number, as columns; no alarm where it is not watched."""
    if row is None:
        return {"is_alarm": False, "alarm_note": ""}
    return {
        "is_alarm": row.is_alarm,
        "baseline_mean": row.baseline_mean,
        "baseline_low": row.low,
        "baseline_high": row.high,
        "p_value": row.p_value,
        "adjusted_p": row.adjusted_p,
        "effect": row.effect,
        "effect_size": row.effect_size,
        "num_nights": row.num_nights,
        "num_pairs": row.num_pairs,
        "alarm_note": row.note,
    }


def alarm_row(row: dict[str, Any]) -> AlarmRow | None:
    """The decision of a row of `HISTORY`, or None where the number is not watched."""
    if row["num_nights"] is None:
        return None
    return AlarmRow(
        metric=row["metric"],
        stratum=row["stratum"],
        night=row["night"],
        value=row["value"],
        baseline_mean=row["baseline_mean"],
        low=row["baseline_low"],
        high=row["baseline_high"],
        p_value=row["p_value"],
        adjusted_p=row["adjusted_p"],
        effect=row["effect"],
        effect_size=row["effect_size"],
        is_alarm=row["is_alarm"],
        num_nights=row["num_nights"],
        num_pairs=row["num_pairs"],
        extractor=row["extractor"],
        note=row["alarm_note"],
        model=row["model"],
    )
