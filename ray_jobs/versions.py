"""Versions of artifacts: looked up by key, by number, by alias; committed create-only; listed in commit order.

    <artifact>/<key>/plan.json            which parts there will be
    <artifact>/<key>/parts/*.parquet      rows, or files-<id>/... for a folder
    <artifact>/<key>/manifest.json        the commit
    <artifact>/log/00000007.json          version number 7 is this key
    aliases/<artifact>/<alias>/00000002.json

Readers go from the log to a manifest to its parts, all of them immutable: they see version k or k+1, never a mix.
"""

import json
from dataclasses import dataclass

from ray_jobs.artifacts import ARTIFACTS
from ray_jobs.errors import AlreadyStored, StoreError, UnknownVersion
from ray_jobs.kill_points import kill_point
from ray_jobs.manifest import Manifest, now
from ray_jobs.store import Store


@dataclass(frozen=True)
class LogEntry:
    """One line of an artifact's history."""

    number: int
    key: str
    digest: str


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
            entries.append(LogEntry(int(name.rsplit("/", 1)[1].removesuffix(".json")), fields["key"], fields["digest"]))
        return entries

    def artifacts(self) -> list[str]:
        """Artifacts that have at least one version, in the chain's order."""
        return [name for name in ARTIFACTS if self.store.names(f"{name}/log")]

    def latest(self, artifact: str) -> Manifest | None:
        """The newest version, or None."""
        names = self.store.names(f"{artifact}/log")
        return self.find(artifact, json.loads(self.store.read(names[-1]))["key"]) if names else None

    def resolve(self, reference: str) -> Manifest:
        """A version from ``artifact``, ``artifact@12`` (number), ``artifact@<key>`` or ``artifact@<alias>``."""
        artifact, _, wanted = reference.partition("@")
        if artifact not in ARTIFACTS:
            raise UnknownVersion(f"artifact {artifact!r} is unknown; accepted are {', '.join(ARTIFACTS)}")
        found = self._resolve(artifact, wanted)
        if found is None:
            numbers = [entry.number for entry in self.history(artifact)]
            there = f"numbers 1 to {numbers[-1]}" if numbers else "none yet"
            raise UnknownVersion(f"{reference}: no such version in {self.store.uri}; there are: {there}")
        return found

    def _resolve(self, artifact: str, wanted: str) -> Manifest | None:
        if not wanted:
            return self.latest(artifact)
        if wanted.isdigit() and len(wanted) < 9:
            name = f"{artifact}/log/{int(wanted):08d}.json"
            return self.find(artifact, json.loads(self.store.read(name))["key"]) if self.store.exists(name) else None
        moves = self.store.names(f"aliases/{artifact}/{wanted}")
        if moves:
            return self.find(artifact, json.loads(self.store.read(moves[-1]))["key"])
        return self.find(artifact, wanted)

    def commit(self, manifest: Manifest) -> Manifest:
        """Make a version visible. AlreadyStored when another committer of the same key was first."""
        kill_point("manifest.before_create")
        self.store.create(f"{manifest.prefix}/manifest.json", manifest.encode())
        kill_point("manifest.after_create")
        self.list_in_log(manifest)
        kill_point("log.after_append")
        return manifest

    def list_in_log(self, manifest: Manifest) -> None:
        """Append a committed version to the history unless it is there: also mends a crash between the two writes.

        A rebuild that finds its key again (thresholds put back, say) is appended anew, so that it is the newest.
        """
        line = json.dumps({"key": manifest.key, "digest": manifest.digest, "at": now()}).encode()
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

    def promote(self, manifest: Manifest, alias: str) -> None:
        """Move an alias to a version; earlier moves stay readable."""
        if not alias.isidentifier():
            raise ValueError(
                f"alias: {alias!r} is not a name; accepted are letters, digits and '_', not starting with a digit"
            )
        line = json.dumps({"key": manifest.key, "digest": manifest.digest, "at": now()}).encode()
        for _ in range(1000):
            number = len(self.store.names(f"aliases/{manifest.artifact}/{alias}")) + 1
            try:
                self.store.create(f"aliases/{manifest.artifact}/{alias}/{number:08d}.json", line)
            except AlreadyStored:
                continue
            return
