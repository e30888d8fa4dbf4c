"""The service over an engine without networks: in this process, and on a real Serve."""

import socket
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.ray_jobs.service.local_serving import door_settings, serving
from tests.ray_jobs.service.stub_engine import StubLoader


@pytest.fixture(scope="module")
def local_service(tmp_path_factory):
    """Steps of 20 ms, batches of four pictures, twelve orders in hand of which eight may be one tenant's."""
    from ray_jobs.service.work_queue import Limits

    alias = tmp_path_factory.mktemp("stub") / "alias"
    alias.write_text("one")
    limits = Limits(pictures_together=4, orders_in_hand=12, orders_of_a_tenant=8)
    with serving(StubLoader(alias, step_s=0.02), limits, door_settings()) as service:
        service.alias = alias
        yield service


@pytest.fixture(scope="session")
def serve_port(local_ray):
    """Where Serve listens."""
    from ray import serve

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number = probe.getsockname()[1]
    serve.start(http_options={"host": "127.0.0.1", "port": number})
    yield number
    serve.shutdown()


@dataclass(frozen=True)
class StubService:
    """A running application on Serve. alias: the file whose text says which version is served."""

    port: int
    alias: Path
    loader: StubLoader

    def state(self):
        """What the model's queue has done so far."""
        from ray import serve

        handle = serve.get_deployment_handle("ExpertsModel", "stub")
        return handle.state.remote().result(timeout_s=30)


@pytest.fixture(scope="module")
def run_stub(serve_port, tmp_path_factory):
    """run(limits, **loading) serves the stub at the root as application `stub`, or rolls out anew."""
    from ray import serve

    from ray_jobs.serve_generation import ServiceSettings, build
    from ray_jobs.service.work_queue import Limits

    alias = tmp_path_factory.mktemp("stub") / "alias"
    alias.write_text("one")

    def run(limits=None, **loading):
        loader = StubLoader(alias, **loading)
        keys = door_settings().keys
        settings = ServiceSettings(keys=keys, timeout_s=60.0, limits=limits or Limits(), follow_s=0.2)
        serve.run(build(loader, settings), name="stub")
        return StubService(serve_port, alias, loader)

    yield run
    serve.delete("stub")
