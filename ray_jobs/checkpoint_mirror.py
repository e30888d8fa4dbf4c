"""Training checkpoints, copied to the store as they appear, so that a run resumes on another machine."""

from pathlib import Path

from ray_jobs.errors import AlreadyStored
from ray_jobs.store import Store


class CheckpointMirror:
    """Keeps a local checkpoint folder and ``<prefix>/checkpoints`` in step."""

    def __init__(self, store: Store, prefix: str, folder: Path) -> None:
        """Mirror ``folder`` (made by `pangu.checkpoint`) below a version's prefix."""
        self.store, self.prefix, self.folder = store, f"{prefix}/checkpoints", folder
        self.sent: set[str] = set()

    def fetch(self) -> None:
        """Bring the two newest checkpoints here; whether they are whole is decided by whoever loads them."""
        found: dict[str, list[str]] = {}
        for name in self.store.names(self.prefix):
            step, _, file = name.removeprefix(f"{self.prefix}/").partition("/")
            found.setdefault(step, []).append(file)
        for step in sorted(found)[-2:]:
            self.store.fetch_folder(f"{self.prefix}/{step}", found[step], self.folder / step)
            self.sent.add(step)

    def send(self) -> None:
        """Copy checkpoints that appeared here since; a file that is there already is the same checkpoint's."""
        for step in sorted(self.folder.glob("step-*")):
            if step.name in self.sent:
                continue
            for path in sorted(p for p in step.rglob("*") if p.is_file()):
                try:
                    self.store.create(
                        f"{self.prefix}/{step.name}/{path.relative_to(step).as_posix()}", path.read_bytes()
                    )
                except AlreadyStored:
                    continue
            self.sent.add(step.name)
