"""Four times what it can do, and a tenant who asks for more than its share: a bounded wait, or a word at once."""

import asyncio

import pytest

from ray_jobs.service.work_queue import Limits
from tests.ray_jobs.service.http_client import KEY, OTHER_KEY
from tests.ray_jobs.service.load import one_by_one, open_loop
from tests.ray_jobs.service.local_serving import door_settings, serving
from tests.ray_jobs.service.stub_engine import StubLoader

BATCH_S = 0.2
SLOTS, WAITING = 2, 4
CAPACITY = SLOTS / BATCH_S
LIMITS = Limits(pictures_together=SLOTS, orders_in_hand=SLOTS + WAITING, orders_of_a_tenant=SLOTS + WAITING)
NOISE_S = 1.0
"""What a busy machine may add to a quantile; the bound without it is asked of the counted waits."""


def check_overload(port, seconds, state):
    """The bounds of a run at four times the capacity; the run."""
    quiet = asyncio.run(one_by_one(port, 20))
    before = state()
    load = asyncio.run(open_loop(port, per_s=4 * CAPACITY, seconds=seconds, timeout_s=30.0))
    after = state()
    assert set(load.statuses) <= {200, 429, 503}, load.statuses
    assert load.statuses[429] + load.statuses[503] > load.statuses[200] > 0
    assert all(int(answer.retry_after) > 0 for answer in load.answers if answer.status != 200)
    assert load.quantile(0.99) <= quiet.quantile(0.99) * (1 + WAITING / SLOTS) * 1.2 + NOISE_S
    batches, orders = after["batches"] - before["batches"], after["orders"] - before["orders"]
    sampled_s, waited_s = after["sampled_s"] - before["sampled_s"], after["waited_s"] - before["waited_s"]
    assert orders / batches > 0.9 * SLOTS, "under load every batch is full"
    assert waited_s / orders <= sampled_s / batches * (1 + WAITING / SLOTS), "no order waits longer than the queue is"
    return load


@pytest.fixture(scope="module")
def port_and_state(tmp_path_factory):
    alias = tmp_path_factory.mktemp("stub") / "alias"
    alias.write_text("one")
    with serving(StubLoader(alias, step_s=BATCH_S), LIMITS, door_settings()) as service:
        yield service.port, lambda: vars(service.model.queue.tally).copy()


@pytest.mark.reliability(14)
def test_at_four_times_its_capacity_it_answers_all_and_serves_what_it_can(port_and_state):
    port, state = port_and_state
    load = check_overload(port, 6.0, state)
    assert load.statuses[200] >= 0.5 * CAPACITY * 6


def quiet_beside_noisy(port, noisy_per_s):
    """The quiet tenant's answers while the other asks so often, and the other's."""

    async def main():
        noisy = asyncio.create_task(open_loop(port, per_s=noisy_per_s, seconds=5.0, key=KEY, steps=1))
        quiet = await open_loop(port, per_s=2.0, seconds=5.0, key=OTHER_KEY, steps=1)
        return quiet, await noisy

    return asyncio.run(main())


@pytest.mark.reliability(23)
def test_a_noisy_tenant_gets_429_and_the_quiet_one_does_not_notice(tmp_path):
    """Beside a tenant at its share, and beside one at ten times that: the quiet one waits for as many batches."""
    (tmp_path / "alias").write_text("one")
    limits = Limits(pictures_together=4, orders_in_hand=12, orders_of_a_tenant=3)
    with serving(StubLoader(tmp_path / "alias", step_s=BATCH_S), limits, door_settings()) as service:
        beside_busy, busy = quiet_beside_noisy(service.port, 12.0)
        beside_noisy, noisy = quiet_beside_noisy(service.port, 120.0)
    assert beside_busy.statuses.keys() == beside_noisy.statuses.keys() == {200}
    assert busy.statuses[200] and noisy.statuses[429] > noisy.statuses[200]
    assert set(noisy.statuses) <= {200, 429}
    assert beside_noisy.quantile(0.95) <= beside_busy.quantile(0.95) * 1.1 + 0.5 * NOISE_S
