"""Lets torchvision be imported beside a torch build that it has no compiled extension for.

torchvision registers shape functions for `torchvision::nms` and `torchvision::qnms` while it is imported, which fails
when its own extension could not be loaded (a CPU-only torch beside a CUDA torchvision, for instance), and takes
open_clip with it. Declaring the two signatures first is enough; the operators themselves stay unusable, and nothing
here calls them: pictures are decoded with Pillow.
"""

import importlib.util
from pathlib import Path

import torch

_SIGNATURES = {
    "nms": "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}
_declared: list[torch.library.Library] = []  # a Library that is collected takes its declarations with it


def declare_missing_ops() -> None:
    """Declare torchvision's two import-time operators unless its extension loads; call before importing open_clip."""
    if _declared or _extension_loads():
        return
    library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
    for name, signature in _SIGNATURES.items():
        if not _is_declared(name):
            library.define(signature)  # type: ignore[no-untyped-call]
    _declared.append(library)


def _is_declared(name: str) -> bool:
    return any(schema.name == f"torchvision::{name}" for schema in torch._C._jit_get_all_schemas())


def _extension_loads() -> bool:
    """Whether torchvision's compiled operators are there and fit this torch; loading them registers the operators."""
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        return False
    for extension in sorted(Path(spec.origin).parent.glob("_C*.so")):
        try:
            torch.ops.load_library(str(extension))  # type: ignore[no-untyped-call]
        except OSError:
            continue
        return _is_declared("nms")
    return False
