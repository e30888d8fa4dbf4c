import importlib.util

import pytest
import torch

from pangu.device import CPU, CUDA, NPU, select_device, set_cpu_threads
from pangu.errors import DeviceError


def test_auto_takes_what_is_there():
    assert select_device("auto") == (CUDA if torch.cuda.is_available() else CPU)
    assert select_device("cpu") == CPU


def test_names_are_those_of_torch_ray_and_the_collectives():
    assert [(t.kind, t.ray_resource, t.collective_backend) for t in (CPU, CUDA, NPU)] == [
        ("cpu", "CPU", "gloo"),
        ("cuda", "GPU", "nccl"),
        ("npu", "NPU", "hccl"),
    ]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_missing_cuda_is_named():
    with pytest.raises(DeviceError, match="cuda"):
        select_device("cuda")


@pytest.mark.skipif(importlib.util.find_spec("torch_npu") is not None, reason="torch_npu is installed")
def test_missing_npu_is_named():
    with pytest.raises(DeviceError, match="torch_npu"):
        select_device("npu")


def test_bad_settings_are_refused_by_name():
    with pytest.raises(ValueError, match="device"):
        select_device("tpu")
    with pytest.raises(ValueError, match="num_threads"):
        set_cpu_threads(0)
