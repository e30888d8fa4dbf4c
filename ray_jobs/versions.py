"""Versions of artifacts: looked up by key, by number, by alias; committed create-only; listed in commit order.

    <artifact>/<key>/plan.json            which parts there will be
    <artifact>/<key>/parts/*.parquet      rows, or files-<id>/... for a folder
    <artifact>/<key>/manifest.json        the commit
    <artifact>/log/00000007.json          version number 7 is this key
    aliases/<artifact>/<alias>/00000002.json
    removed/<artifact>/<key>/00000001.json          when `pangu gc` removed it; the log keeps its line and number

Readers go from the log to a manifest to its parts, all of them immutable: they see version k or k+1, never a mix. Whatever
makes a version count (a commit, an alias, a rollback) claims it first, so that no gc takes it away meanwhile (`claims`).
"""

import json
from dataclasses import dataclass

from ray_jobs.artifacts import ARTIFACTS
from ray_jobs.claims import Claim, claim_version, removed_at
from ray_jobs.errors import AlreadyStored, StoreError, UnknownVersion
from ray_jobs.kill_points import kill_point
from ray_jobs.manifest import Manifest, now
from ray_jobs.moments import in_utc
from ray_jobs.store import Store


@dataclass(frozen=True)
class LogEntry:
    """One line of an artifact's history."""

    number: int
    key: str
    digest: str
    at: str = ""
    """When it was listed (ISO 8601)."""
    why: str = ""
    """Said by whoever rolled back to it."""


@dataclass(frozen=True)
class AliasMove:
    """From ``at`` on (ISO 8601, UTC), the alias points to ``key``."""

    at: str
    key: str
    why: str = ""
    recorded_at: str = ""


class Versions:
    """The catalogue of one store."""

    def __init__(self, store: Store) -> None:
        """Read and commit versions in ``store``."""
        self.store = store

    def find(self, artifact: str, key: str) -> Manifest | None:
        """The committed version of a key, or None."""
        name = f"{artifact}/{key}/manifest.json"
        try:
            return Manifest.decode(self.store.read(name), name)
        except FileNotFoundError:
            return None

    def history(self, artifact: str) -> list[LogEntry]:
        """Every version in commit order; number 1 is the first."""
        entries = []
        for name in self.store.names(f"{artifact}/log"):
            fields = json.loads(self.store.read(name))
            number = int(name.rsplit("/", 1)[1].removesuffix(".json"))
            entries.append(LogEntry(number, fields["key"], fields["digest"], fields["at"], fields.get("why", "")))
        return entries

    def artifacts(self) -> list[str]:
        """Artifacts that have at least one version, in the chain's order."""
        return [name for name in ARTIFACTS if self.store.names(f"{name}/log")]

    def latest(self, artifact: str) -> Manifest | None:
        """The newest version that there is, or None."""
        for name in reversed(self.store.names(f"{artifact}/log")):
            found = self.find(artifact, json.loads(self.store.read(name))["key"])
            if found is not None:
                return found
        return None

    def resolve(self, reference: str) -> Manifest:
        """A version from ``artifact``, ``artifact@12`` (number), ``artifact@<key>`` or ``artifact@<alias>``."""
        artifact, _, wanted = reference.partition("@")
        if artifact not in ARTIFACTS:
            raise UnknownVersion(f"artifact {artifact!r} is unknown; accepted are {', '.join(ARTIFACTS)}")
        key = self._key_of(artifact, wanted)
        found = self.find(artifact, key) if key else None
        if found is None:
            self._refuse_removed(reference, artifact, key)
            numbers = [entry.number for entry in self.history(artifact)]
            there = f"numbers 1 to {numbers[-1]}" if numbers else "none yet"
            raise UnknownVersion(f"{reference}: no such version in {self.store.uri}; there are: {there}")
        return found

    def _key_of(self, artifact: str, wanted: str) -> str | None:
        if not wanted:
            newest = self.latest(artifact)
            return newest.key if newest else None
        if wanted.isdigit() and len(wanted) < 9:
            name = f"{artifact}/log/{int(wanted):08d}.json"
            return str(json.loads(self.store.read(name))["key"]) if self.store.exists(name) else None
        if wanted.isidentifier() and self.alias_moves(artifact, wanted):
            return self.as_of(artifact, now(), wanted).key
        return wanted

    def _refuse_removed(self, reference: str, artifact: str, key: str | None) -> None:
        removed = removed_at(self.store, f"{artifact}/{key}") if key else None
        if removed:
            raise UnknownVersion(
                f"{reference}: version {key} was removed from {self.store.uri} by pangu gc at {removed}; there are: "
                f"pangu ls. A job with the same inputs and configuration makes it anew"
            )

    def commit(self, manifest: Manifest, claim: Claim | None = None) -> Manifest:
        """Make a version visible. claim: what its job got when it began, before it looked at any stored part.

        Raises:
            AlreadyStored: another committer of the same key was first.
            BeingRemoved: a gc has taken parts of it, or an input, meanwhile; the next try makes them anew.
        """
        if claim is None:
            claim_version(self.store, manifest.prefix, manifest.made_from)
        else:
            claim.renew()
        kill_point("manifest.before_create")
        self.store.create(f"{manifest.prefix}/manifest.json", manifest.encode())
        kill_point("manifest.after_create")
        self.list_in_log(manifest)
        kill_point("log.after_append")
        return manifest

    def roll_back(self, manifest: Manifest, why: str = "") -> None:
        """Make an earlier version the newest again; the history keeps all lines. ValueError if it is the newest."""
        newest = self.latest(manifest.artifact)
        if newest is not None and newest.key == manifest.key:
            raise ValueError(f"{manifest.artifact}@{manifest.key}: already the newest; accepted is an earlier version")
        claim_version(self.store, manifest.prefix, (manifest.prefix,))
        self.list_in_log(manifest, why)

    def list_in_log(self, manifest: Manifest, why: str = "") -> None:
        """Append a committed version to the history unless it is there: also mends a crash between the two writes.

        A rebuild that finds its key again (thresholds put back, say) is appended anew, so that it is the newest.
        """
        fields = {"key": manifest.key, "digest": manifest.digest, "at": now()}
        line = json.dumps(fields | ({"why": why} if why else {})).encode()
        for _ in range(1000):
            history = self.store.names(f"{manifest.artifact}/log")
            if history and json.loads(self.store.read(history[-1]))["key"] == manifest.key:
                return
            number = int(history[-1].rsplit("/", 1)[1].removesuffix(".json")) + 1 if history else 1
            try:
                self.store.create(f"{manifest.artifact}/log/{number:08d}.json", line)
            except AlreadyStored:
                continue
            return
        raise StoreError(f"listing {manifest.artifact}@{manifest.key}: 1000 other commits came first")

    def promote(self, manifest: Manifest, alias: str, *, at: str | None = None, why: str = "") -> None:
        """Let an alias point to a version from a moment on (ISO 8601; now by default); earlier moves stay readable."""
        if not alias.isidentifier():
            raise ValueError(
                f"alias: {alias!r} is not a name; accepted are letters, digits and '_', not starting with a digit"
            )
        claim_version(self.store, manifest.prefix, (manifest.prefix,))
        fields = {"key": manifest.key, "digest": manifest.digest, "at": in_utc(at or now()), "recorded_at": now()}
        line = json.dumps(fields | ({"why": why} if why else {})).encode()
        for _ in range(1000):
            number = len(self.store.names(f"aliases/{manifest.artifact}/{alias}")) + 1
            try:
                self.store.create(f"aliases/{manifest.artifact}/{alias}/{number:08d}.json", line)
            except AlreadyStored:
                continue
            return

    def alias_moves(self, artifact: str, alias: str) -> list[AliasMove]:
        """Every move of an alias in the order of the moments from which they hold; equal ones as they were recorded."""
        moves = []
        for name in self.store.names(f"aliases/{artifact}/{alias}"):
            fields = json.loads(self.store.read(name))
            recorded = in_utc(fields.get("recorded_at", fields["at"]))
            moves.append(AliasMove(in_utc(fields["at"]), fields["key"], fields.get("why", ""), recorded))
        return sorted(moves, key=lambda move: move.at)

    def as_of(self, artifact: str, moment: str, alias: str = "") -> Manifest:
        """The version that an alias pointed to at a moment (ISO 8601), or was the newest where the alias never moved.

        What is recorded later with a later moment changes nothing, so a backfill sees what the night itself saw.

        Raises:
            UnknownVersion: the alias pointed nowhere yet, or there was no version.
        """
        moves = self.alias_moves(artifact, alias) if alias else []
        moment = in_utc(moment)
        if moves:
            keys = [move.key for move in moves if move.at <= moment]
        else:
            keys = [entry.key for entry in self.history(artifact) if in_utc(entry.at) <= moment]
        found = self.find(artifact, keys[-1]) if keys else None
        if found is None:
            wanted = f"{artifact}@{alias}" if alias else artifact
            self._refuse_removed(f"{wanted} as of {moment}", artifact, keys[-1] if keys else None)
            first = moves[0].at if moves else "never"
            raise UnknownVersion(
                f"{wanted} as of {moment}: no such version in {self.store.uri}; the alias first moved: {first}. Say what "
                f"it was: pangu promote {artifact}@VERSION {alias or 'champion'} --at {moment}"
            )
        return found

    def as_of_or_first(self, artifact: str, moment: str) -> Manifest:
        """The newest version at a moment; before there was any, the first that there still is: a backfill needs a reference
        to hold against.
        """
        history = self.history(artifact)
        keys = [entry.key for entry in history if in_utc(entry.at) <= in_utc(moment)]
        if not keys:
            keys = [entry.key for entry in history if self.store.exists(f"{artifact}/{entry.key}/manifest.json")][:1]
        return self.resolve(f"{artifact}@{keys[-1]}" if keys else artifact)

    def newest_of_nights(self, artifact: str) -> dict[str, Manifest]:
        """The newest version of each night, by the night that its facts name, in the nights' order."""
        found = {}
        for key in dict.fromkeys(entry.key for entry in self.history(artifact)):
            version = self.find(artifact, key)
            if version is not None:
                found[str(version.facts["night"])] = version
        return dict(sorted(found.items()))
