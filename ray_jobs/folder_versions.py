"""Versions that are folders of files (models, sites): stored under a fresh name, fetched as they were."""

import hashlib
import time
from pathlib import Path

from ray_jobs.kill_points import kill_point
from ray_jobs.manifest import Manifest, Part
from ray_jobs.store import Store


def store_folder(store: Store, prefix: str, folder: Path) -> tuple[str, tuple[Part, ...]]:
    """Store every file of a local folder below a version's prefix; the new folder's name and its files.

    The name is fresh, so that a killed attempt's files are never taken for this one's; the commit says which counts.
    """
    attempt = f"files-{time.time_ns():x}"
    parts = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        data = path.read_bytes()
        name = path.relative_to(folder).as_posix()
        kill_point("files.before_create")
        store.create(f"{prefix}/{attempt}/{name}", data)
        kill_point("files.after_create")
        parts.append(Part(name=name, bytes=len(data), sha256=hashlib.sha256(data).hexdigest()))
    return attempt, tuple(parts)


def fetch_version(store: Store, version: Manifest, folder: Path) -> Path:
    """Copy a folder version here and check every file against its manifest. ValueError if one differs."""
    store.fetch_folder(f"{version.prefix}/{version.folder}", [part.name for part in version.parts], folder)
    for part in version.parts:
        if hashlib.sha256((folder / part.name).read_bytes()).hexdigest() != part.sha256:
            raise ValueError(f"{version.artifact}@{version.key}: {part.name} differs from its manifest")
    return folder
