"""``pangu gc | rollback | verify``: what keeps a store small and sound."""

import sys
from typing import Annotated

import typer
from rich.console import Console

from ray_jobs.cli_options import StoreOption
from ray_jobs.store import Store


def register(app: typer.Typer) -> None:
    """Add the commands to ``pangu``."""
    app.command("gc")(collect)
    app.command()(rollback)
    app.command()(verify)


def collect(
    keep: Annotated[int, typer.Option(min=1, help="newest versions of every artifact that stay")] = 3,
    keep_days: Annotated[float, typer.Option(min=0, help="what was listed or pointed to in these days stays")] = 14,
    grace_hours: Annotated[float, typer.Option(min=1, help="unfinished work and readers are left alone so long")] = 24,
    yes: Annotated[bool, typer.Option("--yes", help="remove it; else only say what would be removed")] = False,
    reasons: Annotated[bool, typer.Option("--reasons", help="say of every version why it stays or goes")] = False,
    store: StoreOption = None,
) -> None:
    """Remove versions that nobody needs, and what killed jobs left; without --yes nothing is removed.

    What a kept version was made from stays, over any number of steps, and so does what an alias points to.
    """
    from ray_jobs.collecting import collect_garbage, find_garbage
    from ray_jobs.retention import Retention

    opened = Store.from_environment(store)
    retention = Retention(keep=keep, keep_days=keep_days, grace_hours=grace_hours)
    found = collect_garbage(opened, retention) if yes else find_garbage(opened, retention)
    for line in found.reasons() if reasons else ():
        sys.stdout.write(f"{line}\n")
    Console().print(found.table(opened.uri))
    if not yes:
        sys.stdout.write("nothing was removed; --yes removes it\n")


def rollback(
    reference: Annotated[str, typer.Argument(help="an earlier version, such as training_set@4")],
    why: Annotated[str, typer.Option(help="kept in the history")] = "",
    store: StoreOption = None,
) -> None:
    """Make an earlier version the newest again; the history keeps every line.

    A later run of its job that finds another key makes that the newest, as always.
    """
    from ray_jobs.versions import Versions

    versions = Versions(Store.from_environment(store))
    manifest = versions.resolve(reference)
    versions.roll_back(manifest, why)
    number = versions.history(manifest.artifact)[-1].number
    sys.stdout.write(f"{manifest.artifact}@{manifest.key} is the newest again, as number {number}\n")


def verify(
    references: Annotated[list[str] | None, typer.Argument(help="versions; all by default")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="only existence and size: reads no part")] = False,
    store: StoreOption = None,
) -> None:
    """Check that every file a manifest names is there as stated; exit code 1 with a line for each that is not."""
    from ray_jobs.verifying import find_problems, find_versions

    opened = Store.from_environment(store)
    manifests = find_versions(opened, references or [])
    num_problems = 0
    for problem in find_problems(opened, manifests, quick=quick):
        num_problems += 1
        sys.stdout.write(f"{problem}\n")
    checked = "exist with their sizes" if quick else "exist with their sizes and digests"
    if num_problems:
        sys.stdout.write(f"{num_problems} problems in {len(manifests)} versions\n")
        raise SystemExit(1)
    sys.stdout.write(f"all files of {len(manifests)} versions {checked}\n")
