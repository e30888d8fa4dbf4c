"""The ``pangu`` command."""

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from ray_jobs.artifacts import artifact_of
from ray_jobs.cli_options import StoreOption
from ray_jobs.config import job_settings, parse_assignments
from ray_jobs.enhance_prompt import enhance
from ray_jobs.errors import JobError
from ray_jobs.fit_style_classifier import fit_style
from ray_jobs.store import Store

if TYPE_CHECKING:
    from ray_jobs.job import JobPlan

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Text-to-image data, training, generation and evaluation on Airflow and Ray.",
)


@app.command()
def run(
    job: Annotated[str, typer.Argument(help="a job of the chain, such as score_images")],
    preset: Annotated[str, typer.Option(help="a preset's name or a TOML file")] = "sample",
    assignments: Annotated[
        list[str] | None, typer.Option("--set", help="key=value over the preset, as often as needed")
    ] = None,
    inputs: Annotated[list[str] | None, typer.Option("--input", help="artifact=version; the newest by default")] = None,
    settings: Annotated[
        str | None, typer.Option(help="all settings as one JSON object, instead of preset and --set")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="say what the run would take, and do nothing (generate_images)")
    ] = False,
    store: StoreOption = None,
) -> None:
    """Run one job here, unless its version is already in the store."""
    from ray_jobs.job import plan_job, run_job
    from ray_jobs.progress import RESULT_PREFIX

    opened = Store.from_environment(store)
    values = json.loads(settings) if settings else job_settings(job, preset, parse_assignments(assignments or []))
    plan = plan_job(job, values, parse_references(inputs or []), opened)
    if dry_run:
        _predict(plan, opened)
        return
    outcome = run_job(plan, opened)
    found = outcome.manifest
    state = "is already there" if outcome.skipped else f"made in {found.seconds:.1f} s"
    counts = ", ".join(f"{name} {number}" for name, number in found.counts.items())
    sys.stdout.write(f"{found.artifact}@{found.key} {state}: {found.rows} rows, {len(found.parts)} files; {counts}\n")
    sys.stdout.write(RESULT_PREFIX + outcome.to_json() + "\n")


def _predict(plan: "JobPlan", store: Store) -> None:
    from ray_jobs.job_configs import GenerateImages

    if not isinstance(plan.config, GenerateImages):
        raise ValueError(f"--dry-run: {plan.job.name} cannot predict what it takes; accepted is generate_images")
    from ray_jobs.generation_estimate import check_budget, predict_plan

    estimate = predict_plan(plan, store)
    sys.stdout.write(f"{plan.job.gives}@{plan.key} would take\n{estimate.to_text()}")
    check_budget(estimate, plan.config.budget)


def parse_references(inputs: list[str]) -> dict[str, str]:
    """``artifact=version`` options to full references."""
    references = {}
    for text in inputs:
        artifact, equals, version = text.partition("=")
        if not equals:
            raise ValueError(f"--input: {text!r} has no '='; accepted is artifact=version, such as images=3")
        references[artifact] = f"{artifact_of(artifact)}@{version.rpartition('@')[2]}"
    return references


@app.command()
def ls(store: StoreOption = None) -> None:
    """List the artifacts of a store with their newest versions."""
    from ray_jobs.inspection import artifact_table

    Console().print(artifact_table(Store.from_environment(store)))


@app.command()
def show(
    reference: Annotated[str, typer.Argument(help="artifact, artifact@number, artifact@key or artifact@alias")],
    store: StoreOption = None,
) -> None:
    """Show a version: counts, config, and everything it was made from, back to the URL list."""
    from ray_jobs.inspection import show_version

    show_version(Store.from_environment(store), reference, Console())


@app.command()
def export(
    reference: Annotated[
        str, typer.Argument(help="training_set, generated_images, experts or dashboard, with @version or newest")
    ],
    to: Annotated[Path, typer.Option(help="an empty or new folder")],
    layout: Annotated[str, typer.Option("--format", help="webdataset or parquet, for rows")] = "webdataset",
    store: StoreOption = None,
) -> None:
    """Copy a version out of the store for other tools."""
    from ray_jobs.export import export_version

    written = export_version(Store.from_environment(store), reference, to, layout)
    sys.stdout.write(f"{written}\n")


@app.command()
def promote(
    reference: Annotated[str, typer.Argument(help="a version, such as experts@4")],
    alias: Annotated[str, typer.Argument(help="champion, candidate, ...")],
    at: Annotated[
        str | None,
        typer.Option(help="from when on, as 2026-11-27T03:00Z, for nights that are run later; now by default"),
    ] = None,
    store: StoreOption = None,
) -> None:
    """Let an alias point to a version."""
    from ray_jobs.versions import Versions

    versions = Versions(Store.from_environment(store))
    manifest = versions.resolve(reference)
    versions.promote(manifest, alias, at=at)
    sys.stdout.write(f"{manifest.artifact}@{alias} is now {manifest.key}\n")


app.command("fit-style")(fit_style)
app.command("enhance")(enhance)


def _register_platform_commands() -> None:
    from ray_jobs import platform_cli, serve_cli, upkeep_cli

    platform_cli.register(app)
    serve_cli.register(app)
    upkeep_cli.register(app)


def main() -> None:
    """Run the command; what a user can mend is one line and a non-zero exit."""
    _register_platform_commands()
    try:
        app()
    except (ValueError, JobError) as error:
        if os.environ.get("PANGU_TRACEBACK"):
            raise
        sys.stderr.write(f"error: {error}\n")
        raise SystemExit(2 if isinstance(error, ValueError) else 1) from None


if __name__ == "__main__":
    main()
