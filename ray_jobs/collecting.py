"""`pangu gc`: mark what must stay (`retention`), then remove the rest (`sweeping`), or only say what would go."""

from dataclasses import dataclass, field

from rich.table import Table

from ray_jobs.artifacts import ARTIFACTS
from ray_jobs.census import Census, take_census
from ray_jobs.kill_points import kill_point
from ray_jobs.leftovers import find_leftovers
from ray_jobs.manifest import now
from ray_jobs.moments import in_utc
from ray_jobs.progress import Progress
from ray_jobs.retention import Moments, Retention, claimed, find_kept
from ray_jobs.store import Store
from ray_jobs.sweeping import Lease, Sweep


@dataclass
class Collection:
    """What goes, and what stays for which reason. A version is called by its prefix, ``artifact/key``."""

    census: Census
    kept: dict[str, str]
    """Why it stays, of every version and every uncommitted prefix that does."""
    versions: list[str]
    """Committed ones that go."""
    unfinished: list[str]
    """Prefixes without a manifest that go."""
    leftovers: dict[str, list[str]] = field(default_factory=dict)
    """Files that go of versions that stay."""
    stale_claims: list[str] = field(default_factory=list)

    def num_bytes(self, artifact: str = "") -> int:
        """Bytes that go, of one artifact or of all."""
        gone = sum(self.census.num_bytes(v) for v in (*self.versions, *self.unfinished) if _is_of(artifact, v))
        return gone + sum(self.census.num_bytes(v, names) for v, names in self.leftovers.items() if _is_of(artifact, v))

    def table(self, title: str) -> Table:
        """One line an artifact, and their sum."""
        table = Table("artifact", "kept", "removed", "unfinished removed", "leftover files", "MiB freed", title=title)
        for artifact in (*ARTIFACTS, ""):
            kept = [version for version in self.census.manifests if version in self.kept and _is_of(artifact, version)]
            gone, torn = ([v for v in some if _is_of(artifact, v)] for some in (self.versions, self.unfinished))
            files = sum(len(names) for version, names in self.leftovers.items() if _is_of(artifact, version))
            if artifact and not (kept or gone or torn or files):
                continue
            numbers = (len(kept), len(gone), len(torn), files)
            table.add_row(artifact or "all", *map(str, numbers), f"{self.num_bytes(artifact) / 2**20:.2f}")
        return table

    def reasons(self) -> list[str]:
        """One line a version."""
        stays = [f"keep    {version}: {why}" for version, why in sorted(self.kept.items())]
        gone = [f"remove  {version}" for version in sorted(self.versions)]
        torn = [f"remove  {version}: never committed, untouched for the grace" for version in sorted(self.unfinished)]
        return [*stays, *gone, *torn]


def find_garbage(store: Store, retention: Retention, at: str | None = None) -> Collection:
    """What goes at a moment (ISO 8601; now by default); removes nothing.

    Raises:
        ValueError: a manifest is of a newer format, so what it names is not known.
        StoreError: the store cannot be seen as a whole.
    """
    at = in_utc(at or now())
    census = take_census(store, Progress("gc"))
    kept, moments = find_kept(census, retention, at), Moments.before(at, retention)
    busy = claimed(census.claims, moments.grace)
    leftovers = {
        version: find_leftovers(manifest, census.files[version], moments.grace)
        for version, manifest in census.manifests.items()
        if version in kept and version not in busy
    }
    return Collection(
        census,
        kept,
        versions=[version for version in census.manifests if version not in kept],
        unfinished=[version for version in census.files if version not in kept and version not in census.manifests],
        leftovers={version: names for version, names in leftovers.items() if names},
        stale_claims=_stale_claims(census, moments),
    )


def collect_garbage(store: Store, retention: Retention, at: str | None = None) -> Collection:
    """Remove it; what a job claimed meanwhile stays, and stands under ``kept``. As `find_garbage`, and

    Raises:
        JobError: another gc is at work, or took over from this one.
    """
    at = in_utc(at or now())
    moments = Moments.before(at, retention)
    store.probe()
    lease = Lease(store, at, moments.grace)
    try:
        found = _collect(store, retention, at, lease)
    except (Exception, KeyboardInterrupt):
        lease.release()
        raise
    lease.release()
    return found


def _collect(store: Store, retention: Retention, at: str, lease: Lease) -> Collection:
    found, moments = find_garbage(store, retention, at), Moments.before(at, retention)
    kill_point("gc.after_census")
    sweep, progress = Sweep(store, found.census, lease, moments, at), Progress("gc")
    doomed = [*found.versions, *found.unfinished]
    removed = set(sweep.remove(doomed, progress))
    found.kept |= {version: "a job claims it since" for version in doomed if version not in removed}
    found.versions = [version for version in found.versions if version in removed]
    found.unfinished = [version for version in found.unfinished if version in removed]
    sweep.let_go(sorted(found.census.marked - set(doomed)))
    for version, names in found.leftovers.items():
        sweep.remove_files(version, names)
    store.delete_all(found.stale_claims)
    return found


def _stale_claims(census: Census, moments: Moments) -> list[str]:
    """Claims on committed versions that are over, and very old ones on what never stored a file."""
    return [
        claim.name
        for claim in census.claims
        if claim.at < (moments.grace if claim.version in census.manifests else moments.since)
        and (claim.version in census.manifests or claim.version not in census.files)
    ]


def _is_of(artifact: str, version: str) -> bool:
    return not artifact or version.startswith(f"{artifact}/")
