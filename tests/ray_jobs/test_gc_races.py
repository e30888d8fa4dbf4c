"""`pangu gc` and jobs at once: whoever looks second yields, and nobody commits what was swept."""

import itertools
import threading
from contextlib import suppress

import pytest

from ray_jobs.claims import claim_version
from ray_jobs.collecting import collect_garbage, find_garbage
from ray_jobs.errors import AlreadyStored, BeingRemoved, JobError
from ray_jobs.kill_points import watched
from ray_jobs.moments import hours_before
from ray_jobs.versions import Versions
from tests.ray_jobs.store_world import (
    ONE,
    Clock,
    ClockedStore,
    Work,
    assert_whole,
    at_point,
    commit,
    prefixes,
    run_on,
)


def test_a_gc_that_stood_still_stops_where_another_took_over(tmp_path):
    clock = Clock()
    store = ClockedStore(str(tmp_path / "store"), clock)
    with clock.ruling():
        for rows in ("abc", "bcd", "cde"):
            Work(store, "url_list", list(rows)).run()
        clock.tick(100)

        def another():
            clock.tick(25)
            collect_garbage(store, ONE)
            Work(store, "url_list", list("abc")).run()

        with at_point("gc.after_look", another), pytest.raises(JobError, match="another one has taken over"):
            collect_garbage(store, ONE)
        assert_whole(store, Versions(store).latest("url_list"))


class InTurn:
    """Two threads, of which one at a time goes on to its next point, in the order of a schedule."""

    def __init__(self, schedule):
        self.schedule, self.waiting = list(schedule), threading.Condition()
        self.over, self.names, self.all = set(), {}, set()

    def run(self, **actions):
        self.all = set(actions)
        threads = [threading.Thread(target=self._act, args=item) for item in actions.items()]
        with watched(self._reached):
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(20)
        assert not any(thread.is_alive() for thread in threads)

    def _act(self, name, action):
        self.names[threading.get_ident()] = name
        self._await_turn(name)
        try:
            action()
        finally:
            with self.waiting:
                self.over.add(name)
                self.waiting.notify_all()

    def _reached(self, point):
        name = self.names.get(threading.get_ident())
        if name:
            self._await_turn(name)

    def _await_turn(self, name):
        with self.waiting:
            self.waiting.wait_for(lambda: self._next() in (name, None), 20)
            if self.schedule:
                self.schedule.pop(0)
            self.waiting.notify_all()

    def _next(self):
        while self.schedule and self.schedule[0] in self.over:
            self.schedule.pop(0)
        return self.schedule[0] if self.schedule else min(self.all - self.over, default=None)


@pytest.mark.parametrize("is_long", [False, True], ids=["resumed", "longer_than_the_grace"])
def test_a_job_and_a_gc_of_one_key_that_interrupt_each_other_anywhere(is_long, tmp_path):
    """Either is interrupted after any step, by any number of the other's. The job, resumed from old parts or
    begun long ago, commits a whole version, or gives up and asks for a retry.
    """
    outcomes = set()
    for number, (first, steps, others) in enumerate(itertools.product(("job", "gc"), range(12), range(9))):
        clock = Clock()
        store = ClockedStore(str(tmp_path / str(number)), clock)
        with clock.ruling():
            Work(store, "url_list", ["other"]).run()
            work = Work(store, "url_list", ["a", "b"]).begin()
            work.step()
            clock.tick(30)
            work = work if is_long else work.retry()

            def job(work=work):
                with suppress(BeingRemoved):  # anything else ends the test
                    run_on(work) if work.claim else work.run()

            second = "gc" if first == "job" else "job"
            schedule = [first] * steps + [second] * others + [first] * 20
            InTurn(schedule).run(job=job, gc=lambda store=store: collect_garbage(store, ONE))
            outcomes.add(work.done is not None)
            if work.done is not None:
                assert_whole(store, work.done)
            for version, is_committed in prefixes(store).items():
                if is_committed:
                    assert_whole(store, Versions(store).find(*version.split("/")))
            assert_whole(store, work.retry().run())
    assert outcomes == {True, False}, "some orders let the job win, some the gc"


def test_a_claim_counts_by_the_time_that_stands_in_it(tmp_path):
    clock = Clock()
    store = ClockedStore(str(tmp_path / "store"), clock)
    with clock.ruling():
        old = commit(store, "url_list", "u1")
        commit(store, "url_list", "u2")
        clock.tick(100)
        claim_version(store, "images/i1", (old.prefix,))
        clock.tick(23)
        assert not find_garbage(store, ONE, clock.now()).versions
        clock.tick(2)
        assert find_garbage(store, ONE, clock.now()).versions == ["url_list/u1"]
        assert hours_before(clock.now(), 25) == "2026-01-05T04:00:00Z"
    with pytest.raises(AlreadyStored):
        store.create("url_list/u1/manifest.json", b"")
