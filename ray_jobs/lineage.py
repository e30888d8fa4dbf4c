"""A version and everything it was made from, as the manifests state it."""

from collections.abc import Iterator

from ray_jobs.artifacts import artifact_of
from ray_jobs.manifest import Manifest
from ray_jobs.versions import Versions


def lineage(versions: Versions, manifest: Manifest) -> Iterator[tuple[str, Manifest]]:
    """A version and everything it was made from, inputs first; what is no longer in the store is left out."""
    for name, version in manifest.inputs.items():
        found = versions.find(artifact_of(name), version.key)
        if found is not None:
            yield from lineage(versions, found)
    yield manifest.artifact, manifest


def ancestors(versions: Versions, manifest: Manifest) -> dict[str, Manifest]:
    """Artifact -> version of the same, the version itself last."""
    return dict(lineage(versions, manifest))
