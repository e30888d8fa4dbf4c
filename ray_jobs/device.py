"""The device a job's models run on."""

from pangu.device import select_device
from ray_jobs.job_configs import Runtime


def torch_device(runtime: Runtime) -> str:
    """The torch device string for a job's ``runtime.device``."""
    return str(select_device(runtime.device).torch_device)
