"""A version's manifest: what it holds, what it was made from and how, written last and only once."""

import hashlib
import importlib.metadata
import json
import platform
import uuid
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from ray_jobs.artifacts import artifact_of

FORMAT = 1
_PACKAGES = (
    "torch",
    "ray",
    "apache-airflow",
    "diffusers",
    "transformers",
    "open_clip_torch",
    "img2dataset",
    "pyarrow",
    "pillow",
)


class Part(BaseModel):
    """One immutable file of a version."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str
    bytes: int
    sha256: str
    rows: int = 0


class InputVersion(BaseModel):
    """An exact version that went in."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    key: str
    digest: str


class Manifest(BaseModel):
    """The commit of one artifact version. Unknown newer formats are refused by `read`."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    format: int = FORMAT
    artifact: str
    key: str
    digest: str
    job: str
    code_version: int
    config: dict[str, Any]
    inputs: dict[str, InputVersion]
    folder: str = "parts"
    parts: tuple[Part, ...]
    counts: dict[str, int] = Field(default_factory=dict)
    """Records in, kept, and one entry per reason: they add up where ``in`` is given."""
    facts: dict[str, Any] = Field(default_factory=dict)
    """What the job has to say of the version: losses, steps, metrics. Part of what the site shows, not of the digest."""
    code: str = ""
    environment: dict[str, str] = Field(default_factory=dict)
    created_at: str = ""
    commit_id: str = Field(default_factory=lambda: uuid.uuid4().hex)
    """Tells two committers of equal content apart, so that exactly one of them wins."""
    seconds: float = 0.0
    device_seconds: float = 0.0

    @property
    def rows(self) -> int:
        """Rows over all parts."""
        return sum(part.rows for part in self.parts)

    @property
    def num_bytes(self) -> int:
        """Bytes over all parts."""
        return sum(part.bytes for part in self.parts)

    @property
    def prefix(self) -> str:
        """Where the version's files stand in the store."""
        return f"{self.artifact}/{self.key}"

    @property
    def made_from(self) -> tuple[str, ...]:
        """The prefixes of its input versions."""
        return tuple(f"{artifact_of(name)}/{version.key}" for name, version in self.inputs.items())

    def encode(self) -> bytes:
        """The stored form: JSON, indented, one trailing newline."""
        return (self.model_dump_json(indent=1) + "\n").encode()

    @classmethod
    def decode(cls, data: bytes, name: str) -> "Manifest":
        """Read a stored manifest. ValueError for a newer format than this code knows."""
        fields = json.loads(data)
        if fields.get("format") != FORMAT:
            raise ValueError(f"{name}: manifest format {fields.get('format')!r}; this code reads format {FORMAT}")
        return cls.model_validate(fields)


def key_of(job: str, code_version: int, config: dict[str, Any], inputs: dict[str, str]) -> str:
    """A version's key, known before the job runs: 24 hex characters over all that decides its rows.

    ``inputs`` maps each input artifact to its digest, so that an input rebuilt with equal rows changes nothing.
    """
    material = json.dumps([job, code_version, config, inputs], sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(material.encode()).hexdigest()[:24]


def digest_of_files(parts: tuple[Part, ...]) -> str:
    """The digest of a folder version: over relative names and contents."""
    lines = sorted(f"{part.name}\0{part.sha256}" for part in parts)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def now() -> str:
    """This moment in UTC, ISO 8601 with seconds."""
    return datetime.now(UTC).isoformat(timespec="seconds")


@cache
def environment() -> dict[str, str]:
    """Versions of Python and of the packages that decide what comes out."""
    found = {"python": platform.python_version(), "machine": platform.machine()}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "absent"
    return found


@cache
def code_fingerprint() -> str:
    """A digest over the platform's own source files: 16 hex characters."""
    root = Path(__file__).resolve().parent.parent
    digest = hashlib.sha256()
    for package in ("curation", "pangu", "ray_jobs"):
        for path in sorted((root / package).rglob("*.py")):
            digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]
