"""Fixtures shared by every folder: a real S3 server on loopback, stores on a folder and on S3, the shared data folder."""

import os
import socket
import sys
import uuid
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("RAY_AUTH_MODE", "token")

REPOSITORY = Path(__file__).resolve().parent.parent
SHARED_DATA = Path(os.environ.get("PANGU_SHARED_DATA", REPOSITORY.parent / "shared" / "data"))


def pytest_collection_modifyitems(config, items):
    """Tests that need the shared data folder say so when it is absent."""
    if SHARED_DATA.is_dir():
        return
    absent = pytest.mark.skip(reason=f"needs the shared data folder at {SHARED_DATA} (or $PANGU_SHARED_DATA)")
    for item in items:
        if item.get_closest_marker("shared_data"):
            item.add_marker(absent)


@pytest.fixture(autouse=True)
def unchanged_attention_kernels():
    """Fitting switches torch's fused attention off for its whole process; the next test must not inherit that."""
    yield
    if "torch" in sys.modules:
        import torch

        torch.backends.cuda.enable_flash_sdp(True)
        torch.backends.cuda.enable_mem_efficient_sdp(True)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    return SHARED_DATA


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="session")
def s3_server():
    """moto's server: real HTTP, conditional puts, no credential checks."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=free_port(), verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3_options(s3_server):
    return {"endpoint_url": s3_server, "key": "test", "secret": "test", "client_kwargs": {"region_name": "us-east-1"}}


@pytest.fixture
def s3_store(s3_server, s3_options):
    import boto3

    from ray_jobs.store import Store

    bucket = f"bucket-{uuid.uuid4().hex[:12]}"
    client = boto3.client(
        "s3", endpoint_url=s3_server, aws_access_key_id="test", aws_secret_access_key="test", region_name="us-east-1"
    )
    client.create_bucket(Bucket=bucket)
    client.close()
    return Store(f"s3://{bucket}/prefix", s3_options)


@pytest.fixture
def folder_store(tmp_path):
    from ray_jobs.store import Store

    return Store(str(tmp_path / "store"))


@pytest.fixture(params=["folder", "s3"])
def store(request):
    """The same test on a folder and on S3."""
    return request.getfixturevalue(f"{request.param}_store")
