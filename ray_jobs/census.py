"""What a store holds, as `pangu gc` sees it: one listing of all files, then every manifest, log, alias and claim."""

import re
from collections import defaultdict
from dataclasses import dataclass

from ray_jobs.artifacts import ARTIFACTS
from ray_jobs.claims import SWEEPS, StoredClaim, stored_claims, whole_names
from ray_jobs.errors import StoreError
from ray_jobs.manifest import Manifest
from ray_jobs.progress import Progress
from ray_jobs.store import Store, Stored
from ray_jobs.versions import AliasMove, LogEntry, Versions

Files = dict[str, Stored]
_KEY = re.compile(r"[0-9a-f]{16,}")


@dataclass(frozen=True)
class Census:
    """A store at one moment. A version is called by its prefix, ``artifact/key``."""

    files: dict[str, Files]
    """Of every prefix, committed or not: name below it -> what the listing says."""
    manifests: dict[str, Manifest]
    logs: dict[str, list[LogEntry]]
    aliases: dict[str, list[list[AliasMove]]]
    claims: list[StoredClaim]
    marked: frozenset[str]
    """Prefixes that a gc, perhaps a killed one, has marked."""

    def num_bytes(self, version: str, names: list[str] | None = None) -> int:
        """Bytes of a prefix, or of some names below it."""
        files = self.files.get(version, {})
        return sum(files[name].bytes for name in (files if names is None else names))


def take_census(store: Store, progress: Progress) -> Census:
    """Look at everything. ValueError where a manifest is of a newer format; StoreError where a log was not seen."""
    files: dict[str, Files] = defaultdict(dict)
    listing = store.listing("")
    for name, stored in listing.items():
        artifact, _, below = name.partition("/")
        key, _, rest = below.partition("/")
        if artifact in ARTIFACTS and rest and key != "log":
            files[f"{artifact}/{key}"][rest] = stored
    versions = Versions(store)
    manifests = _read_manifests(versions, files, progress)
    logs = {artifact: versions.history(artifact) for artifact in ARTIFACTS if _has(listing, f"{artifact}/log/")}
    for artifact, entries in logs.items():
        _refuse_fewer(store, listing, f"{artifact}/log/", len(entries))
    aliases: dict[str, list[list[AliasMove]]] = defaultdict(list)
    for artifact, alias in sorted({tuple(name.split("/")[1:3]) for name in listing if name.startswith("aliases/")}):
        moves = versions.alias_moves(artifact, alias)
        _refuse_fewer(store, listing, f"aliases/{artifact}/{alias}/", len(moves))
        aliases[artifact].append(moves)
    marks = (name.removeprefix(f"{SWEEPS}/").removesuffix(".json") for name in whole_names(store, SWEEPS))
    return Census(dict(files), manifests, logs, dict(aliases), stored_claims(store), frozenset(marks))


def _has(listing: Files, prefix: str) -> bool:
    return any(name.startswith(prefix) for name in listing)


def _refuse_fewer(store: Store, listing: Files, prefix: str, found: int) -> None:
    if found < sum(name.startswith(prefix) and name.endswith(".json") for name in listing):
        raise StoreError(f"listing {prefix} in {store.uri}: lines are missing; nothing was removed")


def _read_manifests(versions: Versions, files: dict[str, Files], progress: Progress) -> dict[str, Manifest]:
    found = {}
    committed = [version for version, names in files.items() if "manifest.json" in names]
    for done, version in enumerate(committed, 1):
        artifact, _, key = version.partition("/")
        manifest = versions.find(artifact, key)
        if manifest is not None:
            found[version] = manifest
        progress.report(done, len(committed), "manifests")
    return found


def named_keys(manifest: Manifest) -> set[str]:
    """Whatever in a manifest may be the key of a version: in facts, such as a night's, and in folders that they name."""
    return set(_KEY.findall(manifest.encode().decode()))
