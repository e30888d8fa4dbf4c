"""Which versions stay: the newest, the recent, what aliases and jobs point to, and everything that those were made from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field

from ray_jobs.census import Census, named_keys
from ray_jobs.claims import StoredClaim
from ray_jobs.moments import hours_before, in_utc
from ray_jobs.versions import AliasMove, LogEntry


class Retention(BaseModel):
    """What a store keeps, and how long unfinished work and readers are left alone."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    keep: int = Field(3, ge=1)
    """Newest distinct versions of every artifact."""
    keep_days: float = Field(14, ge=0)
    """Whatever was listed, made or pointed to by an alias within these days."""
    grace_hours: float = Field(24, ge=1)
    """What was among the newest, or was stored or claimed, this short ago: somebody may be reading or making it."""


@dataclass(frozen=True)
class Moments:
    """The policy's moments (`moments.in_utc`) seen from one point in time."""

    grace: str
    since: str

    @classmethod
    def before(cls, at: str, retention: Retention) -> "Moments":
        """The beginnings of the grace and of the days kept, which are never fewer than the grace."""
        kept_h = max(retention.keep_days * 24, retention.grace_hours)
        return cls(hours_before(at, retention.grace_hours), hours_before(at, kept_h))


def find_kept(census: Census, retention: Retention, at: str) -> dict[str, str]:
    """Prefix -> why it stays, for every version and every uncommitted prefix that must."""
    moments = Moments.before(at, retention)
    return keep_made_from(census, find_roots(census, retention, moments))


def find_roots(census: Census, retention: Retention, moments: Moments) -> dict[str, str]:
    """Prefix -> why it stays by itself."""
    roots: dict[str, str] = {}
    for artifact, entries in census.logs.items():
        for key, why in _of_log(_existing(census, artifact, entries), retention, moments):
            roots.setdefault(f"{artifact}/{key}", why)
    for artifact, aliases in census.aliases.items():
        for moves in aliases:
            for key in _targets(moves, moments.since):
                roots.setdefault(f"{artifact}/{key}", "an alias points to it")
    for version, manifest in census.manifests.items():
        made = in_utc(manifest.created_at) if manifest.created_at else ""
        if made >= moments.since:
            roots.setdefault(version, "recent")
        elif census.files[version]["manifest.json"].at >= moments.grace:
            roots.setdefault(version, "just committed")
    for version, files in census.files.items():
        unswept = version not in census.manifests and version not in census.marked
        if unswept and any(stored.at >= moments.grace for stored in files.values()):
            roots.setdefault(version, "being made")
    for version in claimed(census.claims, moments.grace):
        roots.setdefault(version, "a job claims it")
    return roots


def claimed(claims: Sequence[StoredClaim], grace: str) -> set[str]:
    """What claims since the beginning of the grace name: their versions and the inputs of those."""
    young = [claim for claim in claims if claim.at >= grace]
    return {version for claim in young for version in (claim.version, *claim.needs)}


def keep_made_from(census: Census, roots: Mapping[str, str]) -> dict[str, str]:
    """The roots and, over any number of steps, what their manifests name: inputs, versions in facts, reference caches."""
    by_key: dict[str, list[str]] = {}
    for version in census.files:
        by_key.setdefault(version.partition("/")[2].removeprefix("reference-"), []).append(version)
    kept, waiting = dict(roots), list(roots)
    while waiting:
        version = waiting.pop()
        manifest = census.manifests.get(version)
        if manifest is None:
            continue
        named = [other for key in named_keys(manifest) for other in by_key.get(key, by_key.get(key[:24], []))]
        for other in (*manifest.made_from, *named):
            if other not in kept:
                kept[other] = f"{version} was made from it or names it"
                waiting.append(other)
    return kept


def _existing(census: Census, artifact: str, entries: list[LogEntry]) -> list[LogEntry]:
    return [entry for entry in entries if f"{artifact}/{entry.key}" in census.manifests]


def _of_log(entries: list[LogEntry], retention: Retention, moments: Moments) -> list[tuple[str, str]]:
    """Keys of a log's lines that stay, with the reason. A reader of the grace may have found what was newest at its
    beginning; a backfill without an alias finds what was newest at the beginning of the days kept.
    """
    before_grace = [entry for entry in entries if in_utc(entry.at) <= moments.grace]
    before_since = [entry for entry in entries if in_utc(entry.at) <= moments.since]
    recent = [(entry.key, "recent") for entry in entries if in_utc(entry.at) >= moments.since]
    return [
        *((key, "newest") for key in _newest(entries, retention.keep)),
        *recent,
        *((key, "newest until just now") for key in _newest(before_grace, retention.keep)),
        *((key, "newest until recently") for key in _newest(before_since, 1)),
    ]


def _newest(entries: list[LogEntry], number: int) -> list[str]:
    return list(dict.fromkeys(entry.key for entry in reversed(entries)))[:number]


def _targets(moves: list[AliasMove], since: str) -> set[str]:
    """Where an alias points at any moment since then, in the future too, or was said to point since then."""
    earlier = [move.key for move in moves if move.at <= since]
    return {*earlier[-1:], *(move.key for move in moves if move.at > since or move.recorded_at >= since)}
