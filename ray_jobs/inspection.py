"""What ``pangu ls`` and ``pangu show`` print: versions, counts, and the way back to the URL list."""

import json

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.tree import Tree

from ray_jobs.artifacts import artifact_of
from ray_jobs.manifest import Manifest
from ray_jobs.parts import read_rows
from ray_jobs.store import Store
from ray_jobs.versions import Versions


def artifact_table(store: Store) -> Table:
    """One line per artifact: versions, newest key and digest, rows, size, when."""
    table = Table("artifact", "versions", "newest", "digest", "rows", "MiB", "made (UTC)", title=store.uri)
    versions = Versions(store)
    for name in versions.artifacts():
        newest = versions.latest(name)
        if newest is None:
            continue
        number = str(len(versions.history(name)))
        size = f"{newest.num_bytes / 2**20:.2f}"
        table.add_row(name, number, newest.key[:12], newest.digest[:12], str(newest.rows), size, newest.created_at)
    return table


def lineage(versions: Versions, manifest: Manifest) -> Tree:
    """A version and, below it, everything it was made from, each unfolded once. An input that is gone says so."""
    root = Tree(_label(manifest))
    _unfold(versions, manifest, root, set())
    return root


def _unfold(versions: Versions, manifest: Manifest, branch: Tree, seen: set[str]) -> None:
    for artifact, version in manifest.inputs.items():
        found = versions.find(artifact_of(artifact), version.key)
        if found is None:
            branch.add(f"[red]{artifact}@{version.key[:12]} is no longer in the store[/]")
        elif found.key in seen:
            branch.add(f"{artifact}@{found.key[:12]}  (see above)")
        else:
            seen.add(found.key)
            _unfold(versions, found, branch.add(_label(found)), seen)


def _label(manifest: Manifest) -> str:
    label = f"[bold]{manifest.artifact}[/]@{manifest.key[:12]}  {manifest.created_at}  {_counts(manifest)}"
    source = manifest.facts.get("source")
    return f"{label}  from {escape(str(source))}" if source else label


def _counts(manifest: Manifest) -> str:
    if not manifest.counts:
        return f"{len(manifest.parts)} files"
    return ", ".join(f"{name} {number}" for name, number in manifest.counts.items())


def show_version(store: Store, reference: str, console: Console) -> None:
    """Print one version in full."""
    versions = Versions(store)
    manifest = versions.resolve(reference)
    console.print(lineage(versions, manifest))
    facts = Table("field", "value", show_header=False)
    facts.add_row("key", manifest.key)
    facts.add_row("digest", manifest.digest)
    facts.add_row("job", f"{manifest.job} (code {manifest.code_version}, sources {manifest.code})")
    facts.add_row("config", escape(json.dumps(manifest.config, ensure_ascii=False)))
    facts.add_row("stored", f"{store.uri}/{manifest.prefix}/{manifest.folder}, {manifest.num_bytes} bytes")
    facts.add_row("took", f"{manifest.seconds} s, {manifest.device_seconds} device-seconds")
    for name, value in manifest.facts.items():
        text = json.dumps(value, ensure_ascii=False)
        facts.add_row(name, escape(text if len(text) < 400 else text[:400] + " ..."))
    console.print(facts)
    if manifest.artifact == "metrics":
        rows = read_rows(store, manifest)
        table = Table(*rows.column_names)
        for row in rows.to_pylist():
            table.add_row(*(f"{v:.4g}" if isinstance(v, float) else escape(str(v)) for v in row.values()))
        console.print(table)
