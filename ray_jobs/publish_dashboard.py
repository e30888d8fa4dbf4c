"""publish_dashboard: the static site from the manifests, a sample of the rows and the metrics."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pangu.evaluation.dashboard.content import (
    ArtifactVersion,
    ChainStep,
    HistoryPoint,
    SiteContent,
)
from pangu.evaluation.dashboard.site import write_site
from pangu.evaluation.metrics import MetricRow
from pangu.evaluation.regression import AlarmRow
from ray_jobs import dashboard_pages
from ray_jobs.evaluation_alarms import decide_alarms, nights_of
from ray_jobs.job import JobContext
from ray_jobs.job_configs import PublishDashboard
from ray_jobs.lineage import lineage
from ray_jobs.manifest import Manifest, environment
from ray_jobs.parts import read_rows
from ray_jobs.store import Store
from ray_jobs.versions import Versions

MAIN_CHAIN = ("url_list", "images", "scores", "training_set", "experts", "generated_images", "metrics")
SIDE_INPUTS = {"experts": ("expert_structure", "expert_texture"), "generated_images": ("prompts",)}


def run(context: JobContext[PublishDashboard]) -> Manifest:
    """Collect, draw, commit the folder."""
    content = build_content(context)
    with tempfile.TemporaryDirectory(prefix="pangu-site-") as name:
        pages = write_site(Path(name), content)
        context.progress.report(len(pages), len(pages), "pages")
        return context.commit_folder(Path(name), facts={"pages": [page.name for page in pages]})


def build_content(context: JobContext[PublishDashboard]) -> SiteContent:
    """Everything the site shows."""
    store, config = context.store, context.config
    metrics = context.input("metrics")
    found = dict(lineage(Versions(store), metrics)) | dict(context.plan.inputs)
    steps = []
    for artifact in MAIN_CHAIN:
        if artifact in found:
            sides = tuple(describe(found[name]) for name in SIDE_INPUTS.get(artifact, ()) if name in found)
            steps.append(ChainStep(describe(found[artifact]), headline(found[artifact]), side_inputs=sides))
    alarms = decide_alarms(store)
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
        history=tuple(history(store, {(row.night, row.metric, row.extractor) for row in alarms if _is_whole(row)})),
        alarms=tuple(alarms),
        notices=(notice,) if provisional else (),
        platform_version=metrics.code,
        total_seconds=sum(version.seconds for version in found.values()),
    )


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


def _is_whole(row: AlarmRow) -> bool:
    return row.is_alarm and row.stratum == "all"


def history(store: Store, alarms: set[tuple[str, str, str]]) -> Iterator[HistoryPoint]:
    """The whole-set metrics of every version so far, oldest first. alarms: (night, metric, extractor)."""
    for _, label, version in nights_of(store):
        for row in read_rows(store, version).to_pylist():
            if row["stratum"] == "all":
                yield history_point(label, row, (label, row["metric"], row["extractor"]) in alarms)


def history_point(label: str, row: dict[str, Any], is_alarm: bool = False) -> HistoryPoint:
    """One metric of one version."""
    return HistoryPoint(
        label=label,
        metric=row["metric"],
        value=row["value"],
        low=row["low"],
        high=row["high"],
        extractor=row["extractor"],
        series="newest version",
        is_alarm=is_alarm,
    )
