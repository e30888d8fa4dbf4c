"""Files of a committed version that nobody will ask for again: what killed attempts left, and what served the making only.

Only places whose use is known are looked at; whatever else stands below a version stays.
"""

from pathlib import PurePosixPath

from ray_jobs.census import Files
from ray_jobs.manifest import Manifest
from ray_jobs.tar_shards import tar_name

_NOTES = {"begun", "begun-rows", "checkpoints"}
"""Who began what, and training states: of use until the commit."""


def find_leftovers(manifest: Manifest, files: Files, grace: str) -> list[str]:
    """Names below a committed version's prefix that were stored before ``grace`` and are not needed, in order."""
    named = {part.name for part in manifest.parts}
    text = manifest.encode().decode()
    return sorted(
        name for name, stored in files.items() if stored.at < grace and _is_leftover(manifest, name, named, text)
    )


def _is_leftover(manifest: Manifest, name: str, named: set[str], text: str) -> bool:
    path = PurePosixPath(name)
    folders = path.parts[:-1]
    if path.name.startswith(".new-"):
        return True
    attempt = next((place for place, folder in enumerate(folders) if folder.startswith("files-")), None)
    if attempt is not None:
        folder = "/".join(folders[: attempt + 1])
        return folder != manifest.folder and f"{manifest.prefix}/{folder}" not in text
    if _NOTES & set(folders):
        return True
    if manifest.folder != "parts":
        return False
    below = path.relative_to(folders[0]).as_posix() if folders else ""
    if folders[:1] == ("parts",):
        return below not in named
    if folders[:1] == ("summaries",):
        return f"{below.removesuffix('.json')}.parquet" not in named
    if folders[:1] == ("beside",):
        return not any(below.startswith(tar_name(part).removesuffix("tar")) for part in named)
    return False
