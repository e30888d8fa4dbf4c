"""Fifty clients that go, on a real Serve: the steps end, the slot is free, and the counter stands still."""

import asyncio
import time

import pytest

from ray_jobs.service.work_queue import Limits
from tests.ray_jobs.service.http_client import draw
from tests.ray_jobs.service.load import leave

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.reliability(16)]
STEP_S = 0.05
STEPS = 100


@pytest.fixture(scope="module")
def service(run_stub):
    return run_stub(Limits(pictures_together=1), step_s=STEP_S)


def wait_until(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_fifty_cancelled_orders_take_no_step_more_and_free_their_slot(service):
    before = service.state()
    waits_s = []
    for number in range(50):
        asyncio.run(leave(service.port, 0.1 + 0.01 * (number % 10), steps=STEPS))
        started = time.monotonic()
        assert draw(service.port, steps=1)[0] == 200
        waits_s.append(time.monotonic() - started)
    wait_until(lambda: service.state()["in_hand"] == 0)
    after = service.state()
    assert after["late_steps"] == 0
    assert after["let_go"] - before["let_go"] >= 45, "the others went before they were in hand"
    whole = 50 * STEPS
    assert after["steps"] - before["steps"] < whole / 4
    assert sorted(waits_s)[25] < STEPS * STEP_S / 2, "whoever comes next does not wait for the steps of who went"
    time.sleep(0.5)
    assert service.state()["steps"] == after["steps"]


def test_deadlines_end_orders_too(service):
    before = service.state()
    for _ in range(10):
        status, _, answer = draw(service.port, steps=STEPS, timeout_s=0.3)
        assert status == 408 and answer["error"]["param"] == "timeout_s"
    wait_until(lambda: service.state()["in_hand"] == 0)
    after = service.state()
    assert after["late_steps"] == 0 and after["steps"] - before["steps"] < 10 * STEPS / 4
