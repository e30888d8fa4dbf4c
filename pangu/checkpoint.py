"""Training checkpoints: written beside, digested, renamed into place; a torn one is skipped, a foreign one refused.

checkpoints/step-00000040/
    model.safetensors      weights being trained
    ema.safetensors        their average, float32
    optimizer.safetensors  AdamW's moments and step counts
    state.json             step, EMA updates, losses so far, the expert's identity
    digests.json           sha256 of each file above, written last
"""

import hashlib
import json
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from pangu.bucket_conditioning import BucketSize
from pangu.denoiser import PredictionType
from pangu.ema import Ema
from pangu.errors import CheckpointError
from pangu.time_range import Role, TimeRange

DIGESTS = "digests.json"
FORMAT_VERSION = 1


class ExpertIdentity(BaseModel):
    """What a set of weights is for; stored with every checkpoint and compared before it is used."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    role: Role
    time_range: TimeRange
    num_timesteps: int = 1000
    prediction_type: PredictionType = PredictionType.EPSILON
    buckets: tuple[BucketSize, ...]


@dataclass(frozen=True)
class TrainingState:
    """Everything a run needs to go on as if it had not stopped. The random state is (seed, step), so it is not here."""

    step: int
    model: dict[str, Tensor]
    ema: dict[str, Tensor]
    ema_updates: int
    optimizer: dict[str, Tensor]
    losses: tuple[float, ...]
    identity: ExpertIdentity


def save_checkpoint(folder: Path, state: TrainingState, *, keep: int = 2) -> Path:
    """Write `step-XXXXXXXX` under folder so that it is either whole or absent, then drop all but the newest `keep`.

    Returns the checkpoint's folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"step-{state.step:08d}"
    scratch = Path(tempfile.mkdtemp(prefix=".writing-", dir=folder))
    try:
        for name in ("model", "ema", "optimizer"):
            tensors = {key: value.detach().cpu().contiguous() for key, value in getattr(state, name).items()}
            save_file(tensors, scratch / f"{name}.safetensors")
        described = {
            "format_version": FORMAT_VERSION,
            "step": state.step,
            "ema_updates": state.ema_updates,
            "losses": [loss.hex() for loss in state.losses],
            "identity": state.identity.model_dump(mode="json"),
        }
        (scratch / "state.json").write_text(json.dumps(described, indent=1), encoding="utf-8")
        digests = {path.name: _sha256(path) for path in sorted(scratch.iterdir())}
        (scratch / DIGESTS).write_text(json.dumps(digests, indent=1), encoding="utf-8")
        for path in scratch.iterdir():
            _flush(path)
        if target.exists():  # torn, or left by an earlier run of the same steps
            shutil.rmtree(target)
        scratch.rename(target)
        _flush(folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    for old in _newest_first(folder)[keep:]:
        shutil.rmtree(old, ignore_errors=True)
    return target


def is_whole(checkpoint: Path) -> bool:
    """True when every file is there with the digest that was recorded."""
    try:
        digests = json.loads((checkpoint / DIGESTS).read_text(encoding="utf-8"))
        return bool(digests) and all(_sha256(checkpoint / name) == digest for name, digest in digests.items())
    except (OSError, ValueError):
        return False


def latest_checkpoint(folder: Path) -> Path | None:
    """The newest whole checkpoint; torn ones are passed over. None where there is none."""
    return next((path for path in _newest_first(folder) if is_whole(path)), None)


def load_checkpoint(checkpoint: Path, expected: ExpertIdentity) -> TrainingState:
    """Read one checkpoint.

    Raises:
        CheckpointError: it is torn, of a newer format, or belongs to another expert.
    """
    if not is_whole(checkpoint):
        raise CheckpointError(f"checkpoint {checkpoint.name} is torn: its files do not match {DIGESTS}")
    described: dict[str, Any] = json.loads((checkpoint / "state.json").read_text(encoding="utf-8"))
    if described["format_version"] > FORMAT_VERSION:
        raise CheckpointError(f"checkpoint {checkpoint.name} has format {described['format_version']}, newer than ours")
    identity = ExpertIdentity.model_validate(described["identity"])
    require_same_identity(identity, expected)
    return TrainingState(
        step=described["step"],
        model=load_file(checkpoint / "model.safetensors"),
        ema=load_file(checkpoint / "ema.safetensors"),
        ema_updates=described["ema_updates"],
        optimizer=load_file(checkpoint / "optimizer.safetensors"),
        losses=tuple(float.fromhex(loss) for loss in described["losses"]),
        identity=identity,
    )


def require_same_identity(found: ExpertIdentity, expected: ExpertIdentity) -> None:
    """Compare field by field.

    Raises:
        CheckpointError: naming the first field that differs.
    """
    for field in ExpertIdentity.model_fields:
        if getattr(found, field) != getattr(expected, field):
            raise CheckpointError(
                f"{field}: the checkpoint has {getattr(found, field)}, expected {getattr(expected, field)}"
            )


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """AdamW's state as flat tensors, named `<parameter>.<quantity>`."""
    state = optimizer.state_dict()["state"]
    return {f"{index}.{name}": torch.as_tensor(value) for index, row in state.items() for name, value in row.items()}


def restore_training(state: TrainingState, model: nn.Module, ema: Ema, optimizer: torch.optim.Optimizer) -> None:
    """Put a stored state back into live objects."""
    model.load_state_dict(state.model)
    ema.load(state.ema, state.ema_updates)
    rows: dict[int, dict[str, Tensor]] = {}
    for key, value in state.optimizer.items():
        index, name = key.split(".", 1)
        rows.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({"state": rows, "param_groups": optimizer.state_dict()["param_groups"]})


def _newest_first(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*"), reverse=True) if folder.is_dir() else []


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
