"""`pangu verify`: whether everything that manifests name is in the store, with the size and the digest that they state."""

import hashlib
import tarfile
from collections.abc import Iterator, Sequence

from ray_jobs.artifacts import artifact_of
from ray_jobs.language_training import StoredModel
from ray_jobs.manifest import Manifest
from ray_jobs.parts import read_part, read_summary
from ray_jobs.progress import Progress
from ray_jobs.store import Store
from ray_jobs.tar_shards import tar_name
from ray_jobs.versions import Versions


def find_versions(store: Store, references: Sequence[str]) -> list[Manifest]:
    """The referenced versions, or every one that is committed. UnknownVersion names one that is not there."""
    versions = Versions(store)
    if references:
        return [versions.resolve(reference) for reference in references]
    keys = {(artifact, entry.key): None for artifact in versions.artifacts() for entry in versions.history(artifact)}
    found = (versions.find(artifact, key) for artifact, key in keys)
    return [manifest for manifest in found if manifest is not None]


def find_problems(store: Store, manifests: Sequence[Manifest], *, quick: bool = False) -> Iterator[str]:
    """One line a problem, with the file's name. quick: compare existence and size, and read no part."""
    progress = Progress("verify")
    for done, manifest in enumerate(manifests, 1):
        yield from _missing_inputs(store, manifest)
        sizes = {name: stored.bytes for name, stored in store.listing(manifest.prefix).items()}
        for name, num_bytes, sha256 in _stated_files(manifest):
            yield from _differs(store, name, sizes.get(name), num_bytes, "" if quick else sha256)
        if manifest.facts.get("container") == "webdataset":
            yield from _pictures_missing(store, manifest, sizes, quick)
        progress.report(done, len(manifests), "versions")


def _missing_inputs(store: Store, manifest: Manifest) -> Iterator[str]:
    for name, version in manifest.inputs.items():
        if not store.exists(f"{artifact_of(name)}/{version.key}/manifest.json"):
            yield f"{manifest.prefix}: its input {artifact_of(name)}@{version.key} is not in the store"


def _stated_files(manifest: Manifest) -> Iterator[tuple[str, int | None, str]]:
    """Full name, bytes where they are stated, and sha256 of every file that a manifest says something of."""
    for part in manifest.parts:
        yield f"{manifest.prefix}/{manifest.folder}/{part.name}", part.bytes, part.sha256
    scores = manifest.facts.get("picture_scores")
    if scores:
        yield f"{manifest.prefix}/{scores['name']}", None, scores["sha256"]
    for fields in manifest.facts["models"] if manifest.artifact == "raft_rounds" else ():
        model = StoredModel.from_json(fields)
        for part in model.parts if model.prefix.startswith(f"{manifest.prefix}/") else ():
            yield f"{model.prefix}/{part.name}", part.bytes, part.sha256


def _differs(store: Store, name: str, found: int | None, stated: int | None, sha256: str) -> Iterator[str]:
    if found is None:
        yield f"{name}: is missing"
    elif stated is not None and found != stated:
        yield f"{name}: has {found} bytes; its manifest states {stated}"
    elif sha256:
        digest = hashlib.sha256(store.read(name)).hexdigest()
        if digest != sha256:
            yield f"{name}: has sha256 {digest}; its manifest states {sha256}"


def _pictures_missing(store: Store, manifest: Manifest, sizes: dict[str, int], quick: bool) -> Iterator[str]:
    """What the rows point to in the tars beside the parts. quick: only that tars are there where rows were kept."""
    for part in manifest.parts:
        tar = f"{manifest.prefix}/beside/{tar_name(part.name)}"
        if f"{manifest.prefix}/{manifest.folder}/{part.name}" not in sizes:
            continue
        if quick:
            if tar not in sizes and read_summary(store, manifest.prefix, part.name).counts["kept"]:
                yield f"{tar}: is missing"
            continue
        try:
            read_part(store, manifest, part.name, ["image"])
        except FileNotFoundError:
            yield f"{tar}: is missing"
        except (KeyError, tarfile.TarError) as error:
            yield f"{tar}: does not hold the pictures of {part.name}: {error}"
