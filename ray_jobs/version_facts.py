"""A manifest as the site shows it."""

from pangu.evaluation.dashboard.content import ArtifactVersion
from ray_jobs.manifest import Manifest


def describe(version: Manifest) -> ArtifactVersion:
    """A version with its inputs, counts and configuration."""
    return ArtifactVersion(
        artifact=version.artifact,
        version=version.key,
        digest=version.digest,
        job=version.job,
        rows=version.rows,
        bytes=version.num_bytes,
        seconds=version.seconds,
        created_at=version.created_at,
        code=version.code,
        environment=", ".join(f"{name} {number}" for name, number in version.environment.items()),
        inputs={artifact: found.key for artifact, found in version.inputs.items()},
        counts={name: number for name, number in version.counts.items() if name != "in"},
        config=tuple((name, str(value)) for name, value in version.config.items()),
    )
