"""What the configuration of every job has, and which of it goes into a version's key."""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    from ray_jobs.manifest import Manifest
    from ray_jobs.versions import Versions

Share = Annotated[float, Field(ge=0.0, le=1.0)]


SAMPLE_MODELS = Path(__file__).parent / "sample_models"
_SAMPLE_FOLDERS = {"scorer": SAMPLE_MODELS / "scorer", "base": SAMPLE_MODELS / "experts"}


def model_folder(field: str, value: str) -> str:
    """A model setting with ``sample`` replaced by the folder that the repository carries for that field."""
    return str(_SAMPLE_FOLDERS[field]) if value == "sample" else value


def digest_of_path(path: Path) -> str:
    """A digest over a file, or over every file of a folder: 24 hex characters."""
    digest = hashlib.sha256()
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    for file in files:
        with file.open("rb") as stream:
            content = hashlib.file_digest(stream, "sha256").digest()
        digest.update(file.relative_to(path).as_posix().encode() + b"\0" + content)
    return digest.hexdigest()[:24]


PREFIXES = {"aesthetic": "\u7fa9 ", "cartoon": "\u9945 "}
"""The released prefixes: one rare character and a space (METHOD, section 4)."""


class FrozenModel(BaseModel):
    """Values that do not change; unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Runtime(FrozenModel):
    """How a job is spread over the machine; of this only ``threads`` is part of a version's key, where models run."""

    workers: int = Field(1, ge=1, description="worker processes")
    cpus_per_worker: float = Field(1.0, gt=0, description="logical CPUs that Ray reserves for each worker")
    threads: int = Field(
        1, ge=1, description="compute threads in each worker; decides the last bits of what models give"
    )
    device: Literal["auto", "cpu", "cuda", "npu"] = Field("auto", description="where models run")


class JobConfig(FrozenModel):
    """What every job's config has."""

    module: ClassVar[str | None] = None
    """The module of ray_jobs with ``run``, if it is not named like the job."""
    threads_decide: ClassVar[bool] = False
    """Whether models run here: torch's sums depend on the number of threads, to the last bits."""
    runtime: Runtime = Runtime()

    def decisive(self) -> dict[str, Any]:
        """All that decides the rows: the config without where and how wide, files replaced by digests of their contents."""
        fields = self.model_dump(mode="json", exclude={"runtime"})
        if self.threads_decide:
            fields["threads"] = self.runtime.threads
        for name in self.paths():
            value = fields[name]
            path = model_folder(name, value) if isinstance(value, str) else ""
            if path and Path(path).exists():
                fields[name] = f"content:{digest_of_path(Path(path))}"
        return fields

    def paths(self) -> Iterable[str]:
        """Fields that name local files or folders whose content decides the rows."""
        return ()

    def wanted_inputs(self, optional: tuple[str, ...]) -> tuple[str, ...]:
        """Which of the job's optional inputs this config asks for."""
        del optional
        return ()

    def found_inputs(self, versions: "Versions", inputs: Mapping[str, "Manifest"]) -> Mapping[str, "Manifest"]:
        """What else this config takes of the artifacts that its job ``finds``: ``name:artifact`` to a version."""
        del versions, inputs
        return {}

    def reference_of(self, artifact: str) -> str:
        """Which version of an input is taken where the caller names none: the newest."""
        return artifact
