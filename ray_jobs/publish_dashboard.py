"""publish_dashboard: the static site from the manifests, a sample of the rows and the metrics."""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pangu.evaluation.dashboard.content import ChainStep, HistoryPoint, SiteContent
from pangu.evaluation.dashboard.site import write_site
from pangu.evaluation.metrics import MetricRow
from ray_jobs import dashboard_pages
from ray_jobs.artifacts import artifact_of
from ray_jobs.enhancement_page import enhancement_content
from ray_jobs.errors import JobError
from ray_jobs.job import JobContext
from ray_jobs.job_configs import PublishDashboard
from ray_jobs.lineage import lineage
from ray_jobs.manifest import Manifest
from ray_jobs.moments import short_names
from ray_jobs.night_pages import Measured, measured, night_pages, series_of
from ray_jobs.parts import read_rows
from ray_jobs.picture_tables import over_time, side_by_side, sweeps_of
from ray_jobs.version_facts import describe
from ray_jobs.versions import Versions
from ray_jobs.write_history import alarm_row

MAIN_CHAIN = ("url_list", "images", "scores", "training_set", "experts", "generated_images", "metrics")
SHOWN_MODEL = "candidate"
"""Whose chain the site tells, of the newest night."""
SIDE_INPUTS = {"experts": ("expert_structure", "expert_texture"), "generated_images": ("prompts",)}


def run(context: JobContext[PublishDashboard]) -> Manifest:
    """Collect, draw, commit the folder."""
    content = build_content(context)
    with tempfile.TemporaryDirectory(prefix="pangu-site-") as name:
        pages = write_site(Path(name), content)
        context.progress.report(len(pages), len(pages), "pages")
        return context.commit_folder(Path(name), facts={"pages": [page.name for page in pages]})


def build_content(context: JobContext[PublishDashboard]) -> SiteContent:
    """Everything the site shows: the newest night's chain, the history of all nights, and what stands side by side."""
    store, config = context.store, context.config
    versions, rows = Versions(store), read_rows(store, context.input("history")).to_pylist()
    metrics = newest_metrics(versions, context.input("history"), SHOWN_MODEL)
    found = dict(lineage(versions, metrics))
    labels = short_names([row["night"] for row in rows])
    lines = series_of(versions, rows)
    nights = measured(versions, rows, labels, lines)
    alarms = [replace(row, night=labels[row.night]) for row in map(alarm_row, rows) if row is not None]
    provisional = "experts" in found and bool(found["experts"].config.get("provisional", False))
    notice = "Provisional sample models: they prove that the chain runs, not how good the method is."
    has_training = {"experts", "expert_structure", "training_set"} <= set(found)
    return SiteContent(
        title=config.title,
        preset="sample" if provisional else "",
        built_at=metrics.created_at,
        chain=tuple(chain_steps(found)),
        versions=tuple(describe(version) for version in found.values()),
        dataset=dashboard_pages.dataset_page(store, found, config) if "training_set" in found else None,
        training=dashboard_pages.training_page(found, notice if provisional else "") if has_training else None,
        generation=dashboard_pages.generation_page(store, found["generated_images"], config),
        metrics=tuple(MetricRow(**row) for row in read_rows(store, metrics).to_pylist()),
        history=tuple(history_point(row, labels, lines) for row in rows if lines[row["night"], row["model"]]),
        alarms=tuple(alarm for alarm in alarms if alarm.model in {model for (_, model), line in lines.items() if line}),
        nights=tuple(night_pages(store, newest_of(nights, config), config.num_extremes)),
        over_time=tuple(over_time(store, nights, config.num_grid_nights, config.num_grid_prompts)),
        side_by_side=tuple(side_by_side(store, pictures_of(context), config.num_grid_prompts)),
        sweeps=tuple(
            sweep for version in inputs_of(context, "style_sweep").values() for sweep in sweeps_of(store, version)
        ),
        enhancement=enhancement_content(store, found["raft_rounds"]) if "raft_rounds" in found else None,
        notices=(notice,) if provisional else (),
        platform_version=metrics.code,
        total_seconds=sum(version.seconds for version in found.values()),
    )


def chain_steps(found: Mapping[str, Manifest]) -> Iterator[ChainStep]:
    """The stations of the main chain that there are."""
    for artifact in MAIN_CHAIN:
        if artifact in found:
            sides = tuple(describe(found[name]) for name in SIDE_INPUTS.get(artifact, ()) if name in found)
            yield ChainStep(describe(found[artifact]), headline(found[artifact]), side_inputs=sides)


def newest_of(nights: Sequence[Measured], config: PublishDashboard) -> list[Measured]:
    """The nights that have a page of their own."""
    newest = sorted({found.night for found in nights}, reverse=True)[: config.num_night_pages]
    return [found for found in nights if found.night in newest]


def inputs_of(context: JobContext[PublishDashboard], artifact: str) -> dict[str, Manifest]:
    """Name -> version of the inputs that are of one artifact."""
    named = {name: version for name, version in context.plan.inputs.items() if artifact_of(name) == artifact}
    return {name.rpartition(":")[0] or name: version for name, version in named.items()}


def pictures_of(context: JobContext[PublishDashboard]) -> dict[str, Manifest]:
    """Model -> its pictures, to be set side by side."""
    return dict(sorted(inputs_of(context, "generated_images").items()))


def newest_metrics(versions: Versions, history: Manifest, model: str) -> Manifest:
    """The metrics of a model in the newest night of a history. JobError where there is no night."""
    nights = history.facts["nights"]
    night = versions.find("nights", nights[max(nights)]) if nights else None
    metrics = versions.find("metrics", night.facts["models"][model]["metrics"]) if night else None
    if metrics is None:
        raise JobError("publish_dashboard: the history holds no night; run compare_models and write_history first")
    return metrics


def headline(version: Manifest) -> str:
    """The number that matters of an artifact."""
    kept = version.counts.get("kept", version.rows)
    words: dict[str, str] = {
        "url_list": f"{version.rows:,} URLs",
        "images": f"{kept:,} pictures kept of {version.rows:,}",
        "scores": f"{kept:,} pictures scored",
        "training_set": f"{kept:,} pictures to train on",
        "experts": "structure + texture",
        "generated_images": f"{kept:,} pictures",
        "metrics": f"{version.rows:,} figures",
    }
    return words.get(version.artifact, f"{version.rows:,} rows")


def history_point(row: dict[str, Any], labels: Mapping[str, str], lines: Mapping[tuple[str, str], str]) -> HistoryPoint:
    """One metric of one model in one night. row: of the history."""
    return HistoryPoint(
        label=labels[row["night"]],
        metric=row["metric"],
        value=row["value"],
        low=row["low"],
        high=row["high"],
        extractor=row["extractor"],
        stratum=row["stratum"],
        series=lines[row["night"], row["model"]],
        is_alarm=row["is_alarm"],
        page=f"{row['night_version']}{row['model']}",
    )
