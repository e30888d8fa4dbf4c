"""Removing what nobody needs, step by step, so that whoever reads or works meanwhile meets a whole version or none.

One gc at a time holds the lease, ``gc/<number>.json``; one that was killed is followed by the next when its lease is older
than the grace, and a follower looks after the marks that it finds. For some versions at a time:

    mark       sweeps/<artifact>/<key>.json for each (create-only)
    look       at the claims, again: what a young one names is let go of (`claims`)
    notice     removed/<artifact>/<key>/<number>.json says when, for whoever asks later
    manifest   deleted: from here on there is no such version, and before here it was whole
    claims     the old ones: whoever still works under one fails at its commit
    files      what says that a part is done before what that part needs (pictures beside it, a model's folder), so that
               whoever takes up what a killed gc left finds done parts whole
    unmark

A version goes before those that it was made from. A kill after any step leaves a mark, and all of it may be done again.
"""

import json
import uuid
from collections.abc import Sequence
from graphlib import TopologicalSorter

from ray_jobs.census import Census
from ray_jobs.claims import REMOVED, StoredClaim, mark_name, stored_claims, whole_names
from ray_jobs.errors import AlreadyStored, JobError, StoreError
from ray_jobs.kill_points import kill_point
from ray_jobs.moments import in_utc
from ray_jobs.progress import Progress
from ray_jobs.retention import Moments, claimed, keep_made_from
from ray_jobs.store import Store

LEASES = "gc"
AT_A_TIME = 64
"""Versions that are marked together: jobs that want one of them are turned away until these are done."""
FILES_AT_A_TIME = 1000


class Lease:
    """The right to remove, of one gc at a time."""

    def __init__(self, store: Store, at: str, grace: str) -> None:
        """Take it. JobError where another gc began after ``grace`` and has not ended."""
        self.store = store
        self.line = json.dumps({"at": at, "id": uuid.uuid4().hex}).encode()
        held = whole_names(store, LEASES)
        since = in_utc(json.loads(store.read(held[-1]))["at"]) if held else ""
        if since >= grace:
            raise JobError(
                f"pangu gc: another one began at {since} and has not ended in {store.uri}; if it was killed, this one "
                "may follow it when the grace is over"
            )
        number = int(held[-1].rpartition("/")[2].removesuffix(".json")) + 1 if held else 1
        self.name = f"{LEASES}/{number:08d}.json"
        try:
            store.create(self.name, self.line)
        except AlreadyStored:
            raise JobError(f"pangu gc: another one began in {store.uri} at the same moment") from None
        kill_point("gc.after_lease")

    def check(self) -> None:
        """JobError where another gc has followed, since this one stood still for longer than the grace."""
        held = whole_names(self.store, LEASES)
        if not held or held[-1] != self.name or self.store.read(self.name) != self.line:
            raise JobError(f"pangu gc: another one has taken over in {self.store.uri}; this one stops")

    def release(self) -> None:
        """Let the next gc begin at once; the newest lease goes last."""
        self.check()
        for name in whole_names(self.store, LEASES):
            self.store.delete(name)


class Sweep:
    """Removes versions and uncommitted prefixes of one census."""

    def __init__(self, store: Store, census: Census, lease: Lease, moments: Moments, at: str) -> None:
        """at: the moment that notices name."""
        self.store, self.census, self.lease, self.moments, self.at = store, census, lease, moments, at
        self.claims: list[StoredClaim] = []

    def remove(self, doomed: Sequence[str], progress: Progress) -> list[str]:
        """Remove prefixes, in an order of their own; those that were removed, without what was claimed meanwhile."""
        ordered = users_first(self.census, doomed)
        removed: list[str] = []
        for start in range(0, len(ordered), AT_A_TIME):
            some = ordered[start : start + AT_A_TIME]
            for version in self._mark_and_look(some):
                self._remove_one(version)
                removed.append(version)
                progress.report(len(removed), len(ordered), "versions")
            for version in some:
                self._unmark(version)
        return removed

    def remove_files(self, version: str, names: Sequence[str]) -> None:
        """Remove some names below a prefix, with the folders that this leaves empty. StoreError if some stay."""
        if not names:
            return
        full = [f"{version}/{name}" for name in names]
        for start in range(0, len(full), FILES_AT_A_TIME):
            self.lease.check()
            self.store.delete_all(full[start : start + FILES_AT_A_TIME])
            kill_point("gc.after_files")
        left = set(full).intersection(self.store.listing(version))
        if left:
            raise StoreError(
                f"deleting {min(left)} in {self.store.uri}: {len(left)} files stay; is there a permission?"
            )
        for folder in {name.partition("/")[0] for name in names if "/" in name}:
            self.store.prune(f"{version}/{folder}")

    def let_go(self, versions: Sequence[str]) -> None:
        """Take away marks that a killed gc left on what stays, or on what is gone but for empty folders."""
        for version in versions:
            self.store.prune(version)
            self._unmark(version)

    def _mark_and_look(self, versions: Sequence[str]) -> list[str]:
        self.lease.check()
        for version in versions:
            if version not in self.census.marked:
                self.store.create(mark_name(version), json.dumps({"at": self.at}).encode())
        kill_point("gc.after_marks")
        self.claims = stored_claims(self.store)
        wanted = claimed(self.claims, self.moments.grace)
        kept = keep_made_from(self.census, dict.fromkeys(wanted, "a job claims it"))
        kill_point("gc.after_look")
        return [version for version in versions if version not in kept]

    def _remove_one(self, version: str) -> None:
        self.lease.check()
        if "manifest.json" in self.census.files[version]:
            number = len(self.store.names(f"{REMOVED}/{version}")) + 1
            self.store.create(f"{REMOVED}/{version}/{number:08d}.json", json.dumps({"at": self.at}).encode())
            kill_point("gc.after_notice")
            self.store.delete_all([f"{version}/manifest.json"])
            if self.store.exists(f"{version}/manifest.json"):
                raise StoreError(f"deleting {version}/manifest.json in {self.store.uri}: it stays")
        kill_point("gc.after_manifest")
        self.store.delete_all([claim.name for claim in self.claims if claim.version == version])
        names = [name for name in self.census.files[version] if name != "manifest.json"]
        self.remove_files(version, [name for name in names if _says_done(name)])
        self.remove_files(version, [name for name in names if not _says_done(name)])
        self.store.prune(version)

    def _unmark(self, version: str) -> None:
        self.lease.check()
        self.store.delete_all([mark_name(version)])
        kill_point("gc.after_unmark")


def _says_done(name: str) -> bool:
    """Whether a job that finds this file does not do its work again."""
    return "/parts/" in f"/{name}" or name.endswith("/model.json")


def users_first(census: Census, versions: Sequence[str]) -> list[str]:
    """In an order in which every version stands before those that it was made from."""
    users: dict[str, set[str]] = {version: set() for version in versions}
    for version in versions:
        manifest = census.manifests.get(version)
        for needed in manifest.made_from if manifest else ():
            if needed in users:
                users[needed].add(version)
    return list(TopologicalSorter(users).static_order())
