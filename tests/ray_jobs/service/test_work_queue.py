"""The queue by itself: bounds, fairness, batches, and how quickly it lets go."""

import asyncio
import contextlib
import threading

import pytest

from ray_jobs.service.orders import ImageOrder
from ray_jobs.service.refusal import Refusal, Refused
from ray_jobs.service.work import Made, Started, Step, Work
from ray_jobs.service.work_queue import Limits, WorkQueue


class GatedEngine:
    """Takes a step whenever it is let; remembers every batch."""

    def __init__(self, is_open=True):
        self.batches = []
        self.gate = threading.Semaphore(10_000 if is_open else 0)
        self.steps = 0

    def group(self, work):
        return work.order.size

    def sample(self, works, watch):
        self.batches.append([(work.tenant, work.seed) for work in works])
        going = set(range(len(works)))
        for step in range(1, works[0].order.steps + 1):
            if not going:
                break
            assert self.gate.acquire(timeout=20)
            self.steps += 1
            going = {number for number in going if watch(number, Step(step, works[0].order.steps))}
        return [Made("m", work.order.size, (b"picture",)) for work in works]


def work_of(seed=0, tenant="a", timeout_s=60.0, **fields):
    return Work(tenant, ImageOrder(prompt="x", **{"steps": 2, **fields}), seed, timeout_s)


async def events_of(queue, work):
    return [event async for event in queue.submit(work)]


async def until(condition):
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.002)


def test_an_order_is_told_of_its_start_its_steps_and_its_end():
    async def main():
        return await events_of(WorkQueue(GatedEngine(), Limits()), work_of())

    assert asyncio.run(main()) == [Started(), Step(1, 2), Step(2, 2), Made("m", "auto", (b"picture",))]


def test_orders_that_wait_together_and_are_alike_are_sampled_together():
    async def main():
        engine = GatedEngine(is_open=False)
        queue = WorkQueue(engine, Limits(pictures_together=3))
        tasks = [asyncio.create_task(events_of(queue, work_of(0)))]
        await until(lambda: engine.batches)
        tasks += [asyncio.create_task(events_of(queue, work_of(seed))) for seed in (1, 2)]
        tasks += [asyncio.create_task(events_of(queue, work_of(3, size="128x32")))]
        tasks += [asyncio.create_task(events_of(queue, work_of(4, n=2)))]
        await until(lambda: queue.depth == 4)
        engine.gate.release(1000)
        await asyncio.gather(*tasks)
        return [[seed for _, seed in batch] for batch in engine.batches]

    assert asyncio.run(main()) == [[0], [1, 2], [3], [4]]


def test_a_full_queue_is_503_and_one_tenant_s_share_429():
    async def main():
        engine = GatedEngine(is_open=False)
        queue = WorkQueue(engine, Limits(orders_in_hand=3, orders_of_a_tenant=2))
        tasks = [asyncio.create_task(events_of(queue, work_of(seed))) for seed in (1, 2)]
        await until(lambda: len(queue._waiting) + len(queue._sampled) == 2)
        statuses = []
        for tenant in ("a", "b", "c"):
            try:
                tasks.append(asyncio.create_task(queue.submit(work_of(9, tenant)).__anext__()))
                await asyncio.sleep(0.05)
                if tasks[-1].done():
                    tasks.pop().result()
            except Refused as refused:
                statuses.append((tenant, refused.refusal.status, refused.refusal.retry_after_s))
        engine.gate.release(1000)
        await asyncio.gather(*tasks)
        return statuses

    assert asyncio.run(main()) == [("a", 429, 2), ("c", 503, 2)]


def test_tenants_take_turns():
    async def main():
        engine = GatedEngine(is_open=False)
        queue = WorkQueue(engine, Limits(pictures_together=2))
        tasks = [asyncio.create_task(events_of(queue, work_of(0, "noisy")))]
        await until(lambda: engine.batches)
        tasks += [asyncio.create_task(events_of(queue, work_of(seed, "noisy"))) for seed in range(1, 5)]
        await until(lambda: queue.depth == 4)
        tasks += [asyncio.create_task(events_of(queue, work_of(9, "quiet")))]
        await until(lambda: queue.depth == 5)
        engine.gate.release(1000)
        await asyncio.gather(*tasks)
        return engine.batches

    batches = asyncio.run(main())
    assert ("quiet", 9) in batches[1]
    assert [seed for batch in batches for tenant, seed in batch if tenant == "noisy"] == [0, 1, 2, 3, 4]


@pytest.mark.reliability(16)
def test_fifty_cancelled_orders_take_at_most_the_step_they_are_in():
    async def main():
        engine = GatedEngine(is_open=False)
        queue = WorkQueue(engine, Limits(pictures_together=1))
        for number in range(50):
            before = engine.steps
            task = asyncio.create_task(events_of(queue, work_of(number, steps=20)))
            await until(lambda wanted=number + 1: len(engine.batches) == wanted)
            taken = number % 3
            for _ in range(taken):
                engine.gate.release()
            await until(lambda wanted=before + taken: engine.steps == wanted)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            assert queue.depth == 0
            engine.gate.release(1)  # the step it is in
            await until(lambda: not queue._sampled)
            assert engine.steps == before + taken + 1
        engine.gate.release(20)
        assert isinstance((await events_of(queue, work_of()))[-1], Made)
        return queue.tally

    tally = asyncio.run(main())
    assert (tally.let_go, tally.late_steps) == (50, 0)


@pytest.mark.reliability(16)
def test_a_deadline_ends_an_order_that_waits_and_one_that_is_sampled():
    async def main():
        engine = GatedEngine(is_open=False)
        queue = WorkQueue(engine, Limits(pictures_together=1))
        sampled = asyncio.create_task(events_of(queue, work_of(1, timeout_s=0.3, steps=50)))
        await until(lambda: engine.batches)
        waiting = asyncio.create_task(events_of(queue, work_of(2, timeout_s=0.1)))
        answers = await asyncio.gather(sampled, waiting, return_exceptions=True)
        engine.gate.release(1)
        await until(lambda: not queue._sampled)
        return [answer.refusal.status for answer in answers], engine

    statuses, engine = asyncio.run(main())
    assert statuses == [408, 408]
    assert engine.steps == 1 and engine.batches == [[("a", 1)]], "the waiting order was never begun"


def test_an_engine_that_fails_costs_its_batch_and_no_other():
    class Failing(GatedEngine):
        def sample(self, works, watch):
            if works[0].seed == 13:
                raise OSError("no device")
            return super().sample(works, watch)

    async def main():
        queue = WorkQueue(Failing(), Limits())
        return [(await events_of(queue, work_of(seed)))[-1] for seed in (13, 1)]

    failed, made = asyncio.run(main())
    assert isinstance(failed, Refusal) and failed.status == 500 and "device" not in failed.message
    assert isinstance(made, Made)


def test_a_new_engine_gets_new_orders_and_the_old_one_ends_its_own():
    async def main():
        old, new = GatedEngine(is_open=False), GatedEngine()
        queue = WorkQueue(old, Limits())
        tasks = [asyncio.create_task(events_of(queue, work_of(1)))]
        await until(lambda: old.batches)
        tasks.append(asyncio.create_task(events_of(queue, work_of(2))))
        await until(lambda: queue.depth == 1)
        queue.engine = new
        tasks.append(asyncio.create_task(events_of(queue, work_of(3))))
        await until(lambda: queue.depth == 2)
        old.gate.release(100)
        await asyncio.gather(*tasks)
        return old.batches, new.batches

    assert asyncio.run(main()) == ([[("a", 1)], [("a", 2)]], [[("a", 3)]])
