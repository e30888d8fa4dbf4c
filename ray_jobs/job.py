"""One job, from request to committed version: find its key, skip if it is there, else run it and commit.

Every job module has ``run(context) -> Manifest``; the configuration's model stands in `job_configs`.
"""

import importlib
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from ray_jobs.artifacts import ARTIFACTS, JOBS, Job, artifact_of
from ray_jobs.claims import Claim, claim_version
from ray_jobs.errors import AlreadyStored, JobError, UnknownVersion
from ray_jobs.folder_versions import store_folder
from ray_jobs.job_configs import CONFIGS, JobConfig
from ray_jobs.manifest import (
    InputVersion,
    Manifest,
    Part,
    code_fingerprint,
    digest_of_files,
    environment,
    key_of,
    now,
)
from ray_jobs.parts import PartSummary, merge_counts
from ray_jobs.progress import Progress
from ray_jobs.row_digest import RowDigest
from ray_jobs.store import Store
from ray_jobs.versions import Versions

Config = TypeVar("Config", bound=JobConfig)


@dataclass(frozen=True)
class JobPlan:
    """A job with everything that decides its output resolved: its version key is known."""

    job: Job
    config: JobConfig
    inputs: Mapping[str, Manifest]
    key: str

    def decided_by(self) -> dict[str, Any]:
        """The resolved config as it goes into key and manifest (without run-time settings)."""
        return self.config.decisive()


@dataclass
class JobContext(Generic[Config]):
    """What a job module gets."""

    plan: JobPlan
    store: Store
    config: Config
    progress: Progress
    started: float = field(default_factory=time.monotonic)
    device_seconds: float = 0.0
    claim: Claim | None = None
    """On the version to be made and its inputs, made before any stored part was looked at."""

    @property
    def artifact(self) -> str:
        """The artifact this job gives."""
        return self.plan.job.gives

    @property
    def prefix(self) -> str:
        """Where the new version's files go in the store."""
        return f"{self.artifact}/{self.plan.key}"

    def input(self, artifact: str) -> Manifest:
        """An input version by artifact name."""
        return self.plan.inputs[artifact]

    def commit_parts(
        self, summaries: list[PartSummary], facts: dict[str, Any] | None = None, folder: str = "parts"
    ) -> Manifest:
        """Commit a version of Parquet parts. folder: below the version's, in which the parts' names stand."""
        summaries = sorted(summaries, key=lambda summary: summary.part.name)
        digest = RowDigest()
        for summary in summaries:
            digest.merge(summary.digest)
        counts = merge_counts([summary.counts for summary in summaries])
        return self._commit(digest.hexdigest(), tuple(s.part for s in summaries), folder, counts, facts or {})

    def commit_folder(self, folder: Path, facts: dict[str, Any] | None = None) -> Manifest:
        """Store every file of a local folder and commit them as one version."""
        name, parts = store_folder(self.store, self.prefix, folder)
        return self._commit(digest_of_files(parts), parts, name, {}, facts or {})

    def commit_stored_folder(self, name: str, parts: list[dict[str, Any]], facts: dict[str, Any]) -> Manifest:
        """Commit a folder that a worker has stored with `folder_versions.store_folder`."""
        files = tuple(Part.model_validate(part) for part in parts)
        return self._commit(digest_of_files(files), files, name, {}, facts)

    def _commit(
        self, digest: str, parts: tuple[Part, ...], folder: str, counts: dict[str, int], facts: dict[str, Any]
    ) -> Manifest:
        manifest = Manifest(
            artifact=self.artifact,
            key=self.plan.key,
            digest=digest,
            job=self.plan.job.name,
            code_version=self.plan.job.code_version,
            config=self.plan.decided_by(),
            inputs={name: InputVersion(key=v.key, digest=v.digest) for name, v in self.plan.inputs.items()},
            folder=folder,
            parts=parts,
            counts=counts,
            facts=facts,
            code=code_fingerprint(),
            environment=environment(),
            created_at=now(),
            seconds=round(time.monotonic() - self.started, 3),
            device_seconds=round(self.device_seconds, 3),
        )
        versions = Versions(self.store)
        try:
            return versions.commit(manifest, self.claim)
        except AlreadyStored:
            won = versions.find(self.artifact, self.plan.key)
            if won is None or won.digest != digest:
                raise JobError(
                    f"{self.plan.job.name}: another run committed {self.artifact}@{self.plan.key} with digest "
                    f"{won.digest if won else 'unreadable'}, ours is {digest}: equal inputs gave different rows"
                ) from None
            versions.list_in_log(won)
            return won


def plan_job(name: str, settings: Mapping[str, Any], references: Mapping[str, str], store: Store) -> JobPlan:
    """Resolve a job's config and exact input versions. ValueError or UnknownVersion name what is wrong.

    ``references`` maps names of inputs to version references (``artifact@...``); the newest version otherwise.
    """
    if name not in JOBS:
        raise ValueError(f"job: {name!r} is unknown; accepted are {', '.join(JOBS)}")
    job = JOBS[name]
    collected = {input_name for input_name in references if artifact_of(input_name) == job.collects}
    named = {input_name for input_name in references if artifact_of(input_name) in job.finds}
    stray = set(references) - {*job.takes, *job.optional, *collected, *named}
    if stray:
        raise ValueError(f"input: {name} takes {', '.join(job.takes) or 'nothing'}, not {', '.join(sorted(stray))}")
    config = CONFIGS[name].model_validate(dict(settings))
    versions = Versions(store)
    inputs: dict[str, Manifest] = {}
    for input_name in (*job.takes, *config.wanted_inputs(job.optional), *sorted(collected | named)):
        artifact = artifact_of(input_name)
        reference = references.get(input_name, config.reference_of(artifact))
        found = versions.resolve(reference)
        if found.artifact != artifact:
            raise UnknownVersion(f"input {input_name}: {reference} is a version of {found.artifact}")
        inputs[input_name] = found
    if job.collects and not collected:
        nights = versions.newest_of_nights(job.collects)
        inputs |= {f"{night}:{job.collects}": found for night, found in nights.items()}
    if job.finds and not named:
        inputs |= config.found_inputs(versions, inputs)
    digests = {artifact: manifest.digest for artifact, manifest in inputs.items()}
    return JobPlan(job, config, inputs, key_of(name, job.code_version, config.decisive(), digests))


@dataclass(frozen=True)
class JobOutcome:
    """What came of a job."""

    manifest: Manifest
    skipped: bool
    changed: bool
    """Whether the artifact's newest digest is another one than before."""

    def to_json(self) -> str:
        """One line for whoever started the job."""
        found = self.manifest
        return json.dumps(
            {
                "artifact": found.artifact,
                "key": found.key,
                "digest": found.digest,
                "skipped": self.skipped,
                "changed": self.changed,
            }
        )


def find_finished(plan: JobPlan, store: Store) -> JobOutcome | None:
    """The outcome if this version is already committed: nothing to run. BeingRemoved while a gc takes it away."""
    versions = Versions(store)
    found = versions.find(plan.job.gives, plan.key)
    if found is None:
        return None
    claim_version(store, found.prefix, (found.prefix,))
    before = versions.latest(plan.job.gives)
    versions.list_in_log(found)
    return JobOutcome(found, skipped=True, changed=before is None or before.digest != found.digest)


def run_job(plan: JobPlan, store: Store) -> JobOutcome:
    """Run a planned job unless its version is there, and commit what it gives."""
    finished = find_finished(plan, store)
    if finished is not None:
        return finished
    store.probe()
    before = Versions(store).latest(plan.job.gives)
    module = importlib.import_module(f"ray_jobs.{plan.config.module or plan.job.name}")
    needs = tuple(version.prefix for version in plan.inputs.values())
    claim = claim_version(store, f"{plan.job.gives}/{plan.key}", needs)
    context = JobContext(plan, store, plan.config, Progress(plan.job.name), claim=claim)
    manifest: Manifest = module.run(context)
    assert manifest.artifact in ARTIFACTS
    return JobOutcome(manifest, skipped=False, changed=before is None or before.digest != manifest.digest)
