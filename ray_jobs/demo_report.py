"""The table a demo ends with: records, reasons, experts, pictures, metrics."""

from rich.console import Console
from rich.table import Table

from ray_jobs.parts import read_rows
from ray_jobs.store import Store
from ray_jobs.versions import Versions

ROWS = ("url_list", "images", "scores", "training_set", "prompts", "generated_images")


def print_report(store: Store, console: Console) -> None:
    """Print what the newest versions hold."""
    console.print(records_table(store))
    console.print(experts_table(store))
    console.print(metrics_table(store))


def records_table(store: Store) -> Table:
    """Records in, kept, and dropped by reason, for every artifact of rows."""
    table = Table("artifact", "in", "kept", "dropped by reason", "seconds", title="Records")
    for name in ROWS:
        version = Versions(store).latest(name)
        if version is None:
            continue
        counts = dict(version.counts)
        total, kept = counts.pop("in"), counts.pop("kept")
        reasons = ", ".join(
            f"{reason} {number}" for reason, number in sorted(counts.items(), key=lambda item: -item[1])
        )
        table.add_row(name, str(total), str(kept), reasons or "-", f"{version.seconds:.1f}")
    return table


def experts_table(store: Store) -> Table:
    """Steps and loss of each expert."""
    table = Table("expert", "timesteps", "pictures", "steps", "first loss", "last loss", "seconds", title="Experts")
    for role in ("shared", "structure", "texture"):
        version = Versions(store).latest(f"expert_{role}")
        if version is None:
            continue
        facts = version.facts
        losses = facts["losses"]
        tail = max(1, len(losses) // 10)
        first, last = (f"{sum(part) / len(part):.4f}" if part else "-" for part in (losses[:tail], losses[-tail:]))
        start, stop = facts["time_range"]
        row = (role, f"[{start}, {stop})".replace("[", "\\["), str(facts["pictures"]), str(facts["steps"]), first, last)
        table.add_row(*row, f"{version.seconds:.1f}")
    return table


def metrics_table(store: Store) -> Table:
    """The whole-set metrics."""
    table = Table("metric", "value", "95 % interval", "n", "extractor", "note", title="Metrics")
    version = Versions(store).latest("metrics")
    for row in read_rows(store, version).to_pylist() if version else []:
        if row["stratum"] == "all":
            interval = "-" if row["low"] is None else f"{row['low']:.4g} to {row['high']:.4g}"
            table.add_row(
                row["metric"],
                f"{row['value']:.4g}",
                interval,
                str(row["n"]),
                row["extractor"].split(" ")[0],
                row["note"].split(". ")[0],
            )
    return table
