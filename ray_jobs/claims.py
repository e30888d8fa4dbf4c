"""Claims: how jobs and `pangu gc` keep out of each other's way without waiting for each other.

    claims/<artifact>/<key>/<id>.json     somebody makes this version, or makes it count, and needs these others
    sweeps/<artifact>/<key>.json          gc is about to remove this
    removed/<artifact>/<key>/00000001.json    gc removed this then

Whoever makes a version, lists it anew or points an alias to it first stores a claim and **then** looks for marks; gc first
stores its marks and **then** looks for claims. The store answers reads with what was stored before, so at least one of the
two sees the other: the one gives up with `BeingRemoved`, and gc lets go of what a young claim names. A claim names the
inputs too, so what is being worked from stays. It is young for the grace of gc, by the time that stands in it.

A job may take longer than that. It therefore claims again before its commit (`Claim.renew`) and looks whether its first
claim is still there: gc removes the old claims of a version before any of its parts and the mark last, so a sweep that is
under way shows by its mark, and one that is over by the missing claim. Parts that a job found in place at its start are
thus never committed after they were swept. What remains is a process that stands still for the whole grace between these
two looks and the put of the manifest.
"""

import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from ray_jobs.errors import BeingRemoved, UnknownVersion
from ray_jobs.kill_points import kill_point
from ray_jobs.manifest import now
from ray_jobs.moments import in_utc
from ray_jobs.store import Store

CLAIMS, SWEEPS, REMOVED = "claims", "sweeps", "removed"


@dataclass(frozen=True)
class Claim:
    """A stored claim on a version (``artifact/key``) and on those that it is made from."""

    store: Store
    version: str
    needs: tuple[str, ...]
    name: str

    def renew(self) -> None:
        """Claim again, before a commit. BeingRemoved where a gc has swept the version since the first claim."""
        claim_version(self.store, self.version, self.needs)
        if not self.store.exists(self.name):
            raise BeingRemoved(
                f"{self.version}: pangu gc removed stored parts of it, since its job stored nothing for longer than the "
                "grace; run the job again, and it makes them anew"
            )


@dataclass(frozen=True)
class StoredClaim:
    """A claim as gc finds it."""

    name: str
    version: str
    needs: tuple[str, ...]
    at: str


def claim_version(store: Store, version: str, needs: Sequence[str] = ()) -> Claim:
    """Claim a version (``artifact/key``), committed or not, and committed ones that it needs.

    Raises:
        BeingRemoved: a gc has marked one of them; it lets go or is through in a moment, so try again.
        UnknownVersion: one that is needed is no longer in the store.
    """
    claim = Claim(store, version, tuple(needs), f"{CLAIMS}/{version}/{uuid.uuid4().hex}.json")
    store.create(claim.name, json.dumps({"at": now(), "needs": claim.needs}).encode())
    kill_point("claim.after_create")
    marks = set(store.names(SWEEPS))
    for each in (version, *needs):
        if mark_name(each) in marks:
            raise BeingRemoved(
                f"{each} is being removed by pangu gc; try again in a moment (if that gc was killed: once another "
                "pangu gc has finished what it began)"
            )
    for each in needs:
        if not store.exists(f"{each}/manifest.json"):
            removed = removed_at(store, each)
            how = f"was removed by pangu gc at {removed}" if removed else "is not in the store"
            raise UnknownVersion(f"{each} {how}: {store.uri}")
    return claim


def stored_claims(store: Store) -> list[StoredClaim]:
    """Every claim there is. StoreUnreachable where some cannot be seen."""
    found = []
    for name in whole_names(store, CLAIMS):
        fields = json.loads(store.read(name))
        version = name.removeprefix(f"{CLAIMS}/").rpartition("/")[0]
        found.append(StoredClaim(name, version, tuple(fields["needs"]), in_utc(fields["at"])))
    return found


def whole_names(store: Store, prefix: str) -> list[str]:
    """Every name of finished puts below a prefix; StoreUnreachable, not fewer names, where a folder cannot be read."""
    return [name for name in store.listing(prefix) if name.endswith(".json")]


def mark_name(version: str) -> str:
    """The mark by which gc says that it is about to remove a version."""
    return f"{SWEEPS}/{version}.json"


def removed_at(store: Store, version: str) -> str | None:
    """When gc removed a version (the last time), or None."""
    names = store.names(f"{REMOVED}/{version}")
    return str(json.loads(store.read(names[-1]))["at"]) if names else None
