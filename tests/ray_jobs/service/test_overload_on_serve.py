"""Four times what it can do for a minute, on a real Serve: a bounded wait or a word at once, and no growth."""

import asyncio

import psutil
import pytest

from tests.ray_jobs.service.load import open_loop
from tests.ray_jobs.service.test_overload import BATCH_S, CAPACITY, LIMITS, check_overload


def served_memory_bytes():
    """What Serve's own processes hold."""
    names = ("ray::ServeReplica", "ray::ProxyActor")
    return sum(p.memory_info().rss for p in psutil.process_iter() if " ".join(p.cmdline()[:1]).startswith(names))


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.reliability(14)
def test_on_serve_it_holds_for_a_minute_and_does_not_grow(run_stub):
    service = run_stub(LIMITS, step_s=BATCH_S)
    asyncio.run(open_loop(service.port, per_s=4 * CAPACITY, seconds=10.0))
    before = served_memory_bytes()
    load = check_overload(service.port, 60.0, service.state)
    assert load.statuses[200] >= 0.5 * CAPACITY * 60
    assert served_memory_bytes() - before < 100 * 2**20
