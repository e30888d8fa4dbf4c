"""New versions and new settings under constant load cost no request; a killed replica costs no more than it had in hand."""

import asyncio
import os
import signal
import threading
import time

import pytest

from ray_jobs.service.work_queue import Limits
from tests.ray_jobs.service.load import open_loop

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.reliability(15)]
STEP_S = 0.05
PER_S = 6.0
LIMITS = Limits(pictures_together=4, orders_in_hand=100, orders_of_a_tenant=100)


@pytest.fixture(scope="module")
def service(run_stub):
    return run_stub(LIMITS, step_s=STEP_S)


def under_load(port, work):
    """The load that runs while `work` does, and a second longer; what `work` raises is raised here."""
    ended, failed = threading.Event(), []

    def run():
        try:
            work()
            time.sleep(1.0)
        except Exception as error:
            failed.append(error)
        finally:
            ended.set()

    thread = threading.Thread(target=run)
    thread.start()
    load = asyncio.run(open_loop(port, per_s=PER_S, seconds=280.0, steps=2, until=ended))
    thread.join()
    assert not failed, failed
    return load


def wait_for_key(service, key):
    deadline = time.monotonic() + 120
    while service.state()["key"] != key:
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_three_promotions_at_constant_load_fail_no_request(service):
    def promote():
        for key in ("second", "third", "fourth"):
            service.alias.write_text(key)
            wait_for_key(service, key)
            time.sleep(0.5)

    load = under_load(service.port, promote)
    assert set(load.statuses) == {200} and load.statuses[200] > 10, load.statuses


def test_three_rolling_updates_at_constant_load_fail_no_request(service, run_stub):
    pids = {service.state()["pid"]}

    def roll_out():
        for _ in range(3):
            run_stub(LIMITS, step_s=STEP_S)  # every replica is replaced, the new one first
            pids.add(service.state()["pid"])

    load = under_load(service.port, roll_out)
    assert len(pids) >= 3, "replicas were replaced"
    assert set(load.statuses) == {200} and load.statuses[200] > 10, load.statuses


def test_a_killed_replica_costs_at_most_what_it_had_in_hand_and_is_back_soon(service):
    told = {}

    def kill():
        time.sleep(2.0)
        state = service.state()
        told.update(pid=state["pid"], at=time.monotonic(), in_hand=state["in_hand"])
        os.kill(state["pid"], signal.SIGKILL)
        while service.state()["pid"] == told["pid"]:
            time.sleep(0.2)

    load = under_load(service.port, kill)
    failed = [answer for answer in load.answers if answer.status != 200]
    assert len(failed) <= max(told["in_hand"], LIMITS.pictures_together), load.statuses
    served_again = min(a.sent_at + a.seconds for a in load.answers if a.status == 200 and a.sent_at > told["at"])
    assert served_again - told["at"] <= 60.0, "thirty seconds, and as long again for a busy machine"
