"""Declare torchvision's operators where its compiled extension is missing, so that importing torchvision succeeds.

A torchvision wheel built for another torch (the usual case beside a CPU-only torch) cannot load its extension, yet
registers fake kernels for `torchvision::nms` at import and fails there, taking diffusers, open_clip and transformers
with it. Declaring the two schemas first is enough: the operators stay unusable, but nothing here calls them.
"""

import importlib.util
from pathlib import Path

import torch

_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_declared: list[torch.library.Library] = []  # a Library takes its operators with it when it is collected


def declare_missing_ops() -> None:
    """Declare `torchvision::nms` and `torchvision::qnms` unless they exist or the real extension loads. Idempotent."""
    if _declared or _extension_loads():
        return
    library = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
    for schema in _SCHEMAS:
        library.define(schema)  # type: ignore[no-untyped-call]
    _declared.append(library)


def _extension_loads() -> bool:
    """True when torchvision's compiled operators are, or just became, registered, or when torchvision is absent."""
    if _operator_exists("torchvision::nms"):
        return True
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        return True
    for extension in sorted(Path(spec.origin).parent.glob("_C*.so")):
        try:
            torch.ops.load_library(extension)  # type: ignore[no-untyped-call]
        except OSError:  # built for another torch, or for a CUDA that is not here
            continue
    return _operator_exists("torchvision::nms")


def _operator_exists(name: str) -> bool:
    return bool(torch._C._dispatch_has_kernel(name)) or any(
        schema.name == name for schema in torch._C._jit_get_all_schemas()
    )
