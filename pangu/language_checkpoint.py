"""Checkpoints of a language model's training, whole or absent, as those of the experts (see `pangu.checkpoint`)."""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from pangu.checkpoint import DIGESTS, latest_checkpoint, optimizer_tensors

KEPT = 2


def save_training(
    folder: Path, learnt: Mapping[str, nn.Parameter], optimizer: torch.optim.Optimizer, losses: list[float]
) -> Path:
    """Write `step-XXXXXXXX` under folder, digests last, renamed into place; all but the newest two are dropped."""
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"step-{len(losses):08d}"
    scratch = Path(tempfile.mkdtemp(prefix=".writing-", dir=folder))
    try:
        save_file(
            {name: weights.detach().cpu().contiguous() for name, weights in learnt.items()},
            scratch / "model.safetensors",
        )
        moments = {name: value.detach().cpu().contiguous() for name, value in optimizer_tensors(optimizer).items()}
        save_file(moments, scratch / "optimizer.safetensors")
        (scratch / "state.json").write_text(json.dumps({"losses": [loss.hex() for loss in losses]}), encoding="utf-8")
        digests = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(scratch.iterdir())}
        (scratch / DIGESTS).write_text(json.dumps(digests), encoding="utf-8")
        if target.exists():
            shutil.rmtree(target)
        scratch.rename(target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    for old in sorted(folder.glob("step-*"), reverse=True)[KEPT:]:
        shutil.rmtree(old, ignore_errors=True)
    return target


def load_training(folder: Path, learnt: Mapping[str, nn.Parameter], optimizer: torch.optim.Optimizer) -> list[float]:
    """Put the newest whole checkpoint into live objects; the losses so far, none where there is no checkpoint."""
    newest = latest_checkpoint(folder)
    if newest is None:
        return []
    stored = load_file(newest / "model.safetensors")
    with torch.no_grad():
        for name, weights in learnt.items():
            weights.copy_(stored[name])
    rows: dict[int, dict[str, Tensor]] = {}
    for key, value in load_file(newest / "optimizer.safetensors").items():
        index, name = key.split(".", 1)
        rows.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({"state": rows, "param_groups": optimizer.state_dict()["param_groups"]})
    described = json.loads((newest / "state.json").read_text(encoding="utf-8"))
    return [float.fromhex(loss) for loss in described["losses"]]
