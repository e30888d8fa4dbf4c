"""publish_dashboard: the static site from the manifests, a sample of the rows and the metrics."""

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from pangu.evaluation.dashboard.content import (
    ArtifactVersion,
    ChainStep,
    HistoryPoint,
    SiteContent,
)
from pangu.evaluation.dashboard.site import write_site
from pangu.evaluation.metrics import ALL, MetricRow
from ray_jobs import dashboard_pages
from ray_jobs.errors import JobError
from ray_jobs.job import JobContext
from ray_jobs.job_configs import PublishDashboard
from ray_jobs.lineage import lineage
from ray_jobs.manifest import Manifest, environment
from ray_jobs.moments import short_names
from ray_jobs.parts import read_rows
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
    """Everything the site shows: the newest night's chain, and the history of all."""
    store, config = context.store, context.config
    nights = read_rows(store, context.input("history")).to_pylist()
    metrics = newest_metrics(Versions(store), context.input("history"), SHOWN_MODEL)
    found = dict(lineage(Versions(store), metrics)) | dict(context.plan.inputs)
    labels = short_names([row["night"] for row in nights])
    steps = []
    for artifact in MAIN_CHAIN:
        if artifact in found:
            sides = tuple(describe(found[name]) for name in SIDE_INPUTS.get(artifact, ()) if name in found)
            steps.append(ChainStep(describe(found[artifact]), headline(found[artifact]), side_inputs=sides))
    alarms = [replace(row, night=labels[row.night]) for row in map(alarm_row, nights) if row is not None]
    provisional = bool(found["experts"].config.get("provisional", False))
    notice = "Provisional sample models: they prove that the chain runs, not how good the method is."
    return SiteContent(
        title=config.title,
        preset="sample" if provisional else "",
        built_at=metrics.created_at,
        chain=tuple(steps),
        versions=tuple(describe(version) for version in found.values()),
        dataset=dashboard_pages.dataset_page(store, found, config),
        training=dashboard_pages.training_page(found, notice if provisional else ""),
        generation=dashboard_pages.generation_page(store, found["generated_images"], config),
        metrics=tuple(MetricRow(**row) for row in read_rows(store, metrics).to_pylist()),
        history=tuple(history_point(labels[row["night"]], row) for row in nights if is_shown(row)),
        alarms=tuple(alarms),
        notices=(notice,) if provisional else (),
        platform_version=metrics.code,
        total_seconds=sum(version.seconds for version in found.values()),
    )


def newest_metrics(versions: Versions, history: Manifest, model: str) -> Manifest:
    """The metrics of a model in the newest night of a history. JobError where there is no night."""
    nights = history.facts["nights"]
    night = versions.find("nights", nights[max(nights)]) if nights else None
    metrics = versions.find("metrics", night.facts["models"][model]["metrics"]) if night else None
    if metrics is None:
        raise JobError("publish_dashboard: the history holds no night; run compare_models and write_history first")
    return metrics


def describe(version: Manifest) -> ArtifactVersion:
    """A manifest as the site shows it."""
    return ArtifactVersion(
        artifact=version.artifact,
        version=version.key,
        digest=version.digest,
        job=version.job,
        rows=version.rows,
        bytes=version.num_bytes,
        seconds=version.seconds,
        created_at=version.created_at,
        code=version.code,
        environment=", ".join(f"{name} {number}" for name, number in environment().items()),
        inputs={artifact: found.key for artifact, found in version.inputs.items()},
        counts={name: number for name, number in version.counts.items() if name != "in"},
        config=tuple((name, str(value)) for name, value in version.config.items()),
    )


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


def is_shown(row: dict[str, Any]) -> bool:
    """Whether a row of the history has a trend: those of the whole set, and the strata that the alarm watches."""
    return row["stratum"] == ALL or row["num_nights"] is not None


def history_point(label: str, row: dict[str, Any]) -> HistoryPoint:
    """One metric of one model in one night. row: of the history."""
    return HistoryPoint(
        label=label,
        metric=row["metric"],
        value=row["value"],
        low=row["low"],
        high=row["high"],
        extractor=row["extractor"],
        stratum=row["stratum"],
        series=row["model"],
        is_alarm=row["is_alarm"],
    )
