"""What differs between CUDA, Ascend and CPU: names, autocast type, collective backend."""

import importlib
import importlib.util
from dataclasses import dataclass

import torch

from pangu.errors import DeviceError

DEVICE_KINDS = ("auto", "cuda", "npu", "cpu")


@dataclass(frozen=True)
class DeviceTraits:
    """One kind of device, as torch, Ray and torch.distributed name it.

    kind: torch's device type. ray_resource: Ray's resource name. autocast_dtype: None where float32 is the right
    choice. collective_backend: torch.distributed's backend.
    """

    kind: str
    ray_resource: str
    autocast_dtype: torch.dtype | None
    collective_backend: str

    @property
    def torch_device(self) -> torch.device:
        """The first device of this kind that the process may see."""
        return torch.device(self.kind)


# Below 128 channels float32 is the faster choice on a CPU, so autocast is off there unless a run asks for it.
CPU = DeviceTraits("cpu", "CPU", None, "gloo")
CUDA = DeviceTraits("cuda", "GPU", torch.bfloat16, "nccl")
NPU = DeviceTraits("npu", "NPU", torch.bfloat16, "hccl")


def select_device(kind: str = "auto") -> DeviceTraits:
    """Traits of the device asked for; `auto` takes CUDA where there is one, else the CPU.

    Ascend is used only when `npu` is asked for, because importing torch_npu without its runtime breaks torch.

    Raises:
        ValueError: `kind` is none of auto, cuda, npu, cpu.
        DeviceError: the device is not usable on this host.
    """
    if kind not in DEVICE_KINDS:
        raise ValueError(f"device: got {kind!r}, expected one of {', '.join(DEVICE_KINDS)}")
    if kind == "npu":
        _require_npu()
        return NPU
    if kind == "cuda" and not torch.cuda.is_available():
        raise DeviceError("device 'cuda' was asked for, but torch sees no CUDA device; use 'cpu' or 'auto'")
    return CUDA if kind != "cpu" and torch.cuda.is_available() else CPU


def set_cpu_threads(num_threads: int) -> None:
    """Let torch use this many threads: Ray's `num_cpus` is only a scheduling number."""
    if num_threads < 1:
        raise ValueError(f"num_threads: got {num_threads}, expected at least 1")
    torch.set_num_threads(num_threads)


def _require_npu() -> None:
    if importlib.util.find_spec("torch_npu") is None:
        raise DeviceError("device 'npu' was asked for, but torch_npu is not installed; install the extra 'npu'")
    try:
        importlib.import_module("torch_npu")
    except (ImportError, OSError, RuntimeError) as error:
        raise DeviceError(f"device 'npu' was asked for, but torch_npu does not load: {error}") from error
    npu = getattr(torch, "npu", None)
    if npu is None or not npu.is_available():
        raise DeviceError("device 'npu' was asked for, but torch_npu sees no Ascend device")
