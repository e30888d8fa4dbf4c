"""A store under every order of commits, kills, collections, rollbacks, opt-outs, aliases and readers that Hypothesis finds.

The model knows what was listed when, where aliases point, and who reads; the store is a real one in a folder, and its clock
is turned by hand.
"""

import shutil
import tempfile

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from ray_jobs.claims import mark_name
from ray_jobs.collecting import collect_garbage
from ray_jobs.errors import BeingRemoved, JobError, UnknownVersion
from ray_jobs.kill_points import KILL_POINTS
from ray_jobs.retention import Retention
from ray_jobs.versions import Versions
from tests.ray_jobs.store_world import (
    MAKERS,
    TAKES,
    Clock,
    ClockedStore,
    Died,
    Work,
    assert_whole,
    at_point,
    die,
    prefixes,
    run_on,
)

RETENTION = Retention(keep=2, keep_days=2, grace_hours=24)
GC_POINTS = [point for point in KILL_POINTS if point.startswith("gc.")]
JOB_POINTS = [
    p for p in KILL_POINTS if p.startswith(("claim.", "part.", "manifest.", "log.")) and p != "part.after_begin"
]
ROWS = [f"row {number}" for number in range(6)]
artifacts, chance = st.sampled_from(list(MAKERS)), st.integers(0, 11)
soon_or_later = st.sampled_from([0, 0, 25, 49])
GONE = (BeingRemoved, UnknownVersion)


class StoreModel(RuleBasedStateMachine):
    """Steps are counted over all runs of one test."""

    steps = removed = given_up = 0

    @initialize()
    def build(self):
        self.folder = tempfile.mkdtemp(prefix="pangu-model-")
        self.clock = Clock()
        self.ruling = self.clock.ruling()
        self.ruling.__enter__()
        self.store = ClockedStore(f"{self.folder}/store", self.clock)
        self.versions = Versions(self.store)
        self.logs = {artifact: [] for artifact in MAKERS}  # (key, when)
        self.aliases = {}  # artifact -> (from when, key), in the order of recording
        self.readers = []  # (manifest, when it was newest)
        self.works, self.rows = [], set(ROWS)
        self.lease_since = None
        self.verified = {}
        self.turn, self.is_over = 0, False

    def teardown(self):
        if hasattr(self, "folder"):
            try:
                self.settle()
            finally:
                self.ruling.__exit__(None, None, None)
                shutil.rmtree(self.folder)

    # what happens

    @rule(hours=st.sampled_from([1, 6, 13, 25, 80]))
    def tick(self, hours):
        self.clock.tick(hours)

    @rule(rows=st.sets(st.sampled_from(ROWS), min_size=1))
    def commit(self, rows):
        self.rows = set(rows)
        self.work_out(Work(self.store, "url_list", rows))

    @rule(row=st.sampled_from(ROWS))
    def opt_out(self, row):
        """The next version lacks a withdrawn row in every part."""
        if self.rows == {row}:
            return
        self.rows.discard(row)
        made = self.work_out(Work(self.store, "url_list", self.rows))
        if made is not None:
            assert row not in assert_whole(self.store, self.versions.latest("url_list"))

    @rule(artifact=st.sampled_from(["images", "training_set"]), pick=chance)
    def derive(self, artifact, pick):
        """A version made from any that is there, not only from the newest."""
        self.work_out(self.new_work(artifact, pick))

    @rule(artifact=artifacts, pick=chance, point=st.sampled_from(JOB_POINTS), times=st.integers(1, 2))
    def crash(self, artifact, pick, point, times):
        work = self.new_work(artifact, pick)
        with at_point(point, die, times):
            self.work_out(work)
        self.works.append(work.retry())

    @rule(artifact=artifacts, pick=chance, num_steps=st.integers(0, 2))
    def begin_slowly(self, artifact, pick, num_steps):
        """A job that goes on later, under the claim of its beginning."""
        work = self.new_work(artifact, pick)
        self.guarded(work.begin)
        for _ in range(num_steps):
            if work.claim is not None:
                self.guarded(work.step)
        if work.claim is not None and work.done is None:
            self.works.append(work)

    @rule(pick=chance)
    def go_on(self, pick):
        if self.works:
            self.work_out(self.works.pop(pick % len(self.works)))

    @rule(hours=soon_or_later)
    def collect(self, hours):
        self.clock.tick(hours)
        self.gc()

    @rule(hours=soon_or_later, point=st.sampled_from(GC_POINTS), times=st.integers(1, 3))
    def collect_and_die(self, hours, point, times):
        self.clock.tick(hours)
        with at_point(point, die, times):
            self.gc()

    @rule(
        hours=soon_or_later,
        point=st.sampled_from(GC_POINTS[1:]),
        act=st.integers(0, 4),
        artifact=artifacts,
        pick=chance,
    )
    def collect_while_others_act(self, hours, point, act, artifact, pick):
        self.clock.tick(hours)
        acts = (
            lambda: self.work_out(self.new_work(artifact, pick)),
            lambda: self.works and self.work_out(self.works.pop(pick % len(self.works))),
            lambda: self.point_alias(artifact, pick, 0),
            lambda: self.go_back(artifact, pick),
            self.all_hold,
        )
        with at_point(point, acts[act]):
            self.gc()

    @rule(point=st.sampled_from(JOB_POINTS), times=st.integers(1, 2), artifact=artifacts, pick=chance)
    def work_while_gc_runs(self, point, times, artifact, pick):
        with at_point(point, self.gc, times):
            self.work_out(self.works.pop(pick % len(self.works)) if self.works else self.new_work(artifact, pick))

    @rule(artifact=artifacts, pick=chance)
    def roll_back(self, artifact, pick):
        self.go_back(artifact, pick)

    @rule(artifact=artifacts, pick=chance, hours=st.sampled_from([-30, 0, 50]))
    def promote(self, artifact, pick, hours):
        self.point_alias(artifact, pick, hours)

    @rule(artifact=artifacts)
    def read_slowly(self, artifact):
        """A reader holds on to what was newest."""
        found = self.versions.latest(artifact)
        if found is not None:
            self.readers.append((found, self.clock.at))

    # how it is done

    def new_work(self, artifact, pick):
        """A job on any inputs that are there; a list of some of the rows where there are none."""
        inputs = ()
        if TAKES[artifact]:
            there = self.existing(*TAKES[artifact])
            if not there:
                return Work(self.store, "url_list", self.rows)
            inputs = (there[pick % len(there)],)
        return Work(self.store, artifact, [f"{artifact} {pick % 3}", f"{artifact} of all"], inputs)

    def existing(self, artifact):
        """Its versions; every other time only those that a gc is about to remove, if any."""
        self.turn += 1
        there = [m for m in (self.versions.find(artifact, k) for k in sorted({k for k, _ in self.logs[artifact]})) if m]
        marked = [m for m in there if self.store.exists(mark_name(m.prefix))]
        return marked if marked and self.turn % 2 else there

    def guarded(self, action):
        """Done, or given up for a gc's sake or by a kill: either way the log gained at most this job's line."""
        try:
            return action()
        except GONE:
            StoreModel.given_up += 1
        except Died:
            pass
        finally:
            self.see_logs()
        return None

    def work_out(self, work):
        return self.guarded(work.run if work.claim is None else lambda: run_on(work))

    def go_back(self, artifact, pick):
        there = self.existing(artifact)
        if not there:
            return
        chosen = there[pick % len(there)]
        try:
            self.guarded(lambda: self.versions.roll_back(chosen, "a test"))
        except ValueError as error:
            assert "already the newest" in str(error) and self.logs[artifact][-1][0] == chosen.key

    def point_alias(self, artifact, pick, hours):
        there = self.existing(artifact)
        if there:
            chosen, at = there[pick % len(there)], self.clock.before(-hours)
            if self.guarded(lambda: self.versions.promote(chosen, "champion", at=at) or True):
                self.aliases.setdefault(artifact, []).append((at, chosen.key))

    def gc(self):
        """A collection; only a younger lease turns it away."""
        before = sum(prefixes(self.store).values())
        is_held = self.lease_since is not None and (self.clock.at - self.lease_since).total_seconds() <= 24 * 3600
        lease, self.lease_since = self.lease_since, self.clock.at
        try:
            collect_garbage(self.store, RETENTION)
        except Died:
            return
        except JobError as error:
            assert is_held and "another one began" in str(error), error
            self.lease_since = lease
            return
        self.lease_since = None
        StoreModel.removed += 0 if self.is_over else max(0, before - sum(prefixes(self.store).values()))

    def see_logs(self):
        """Take note of new lines, with the time of now; the earlier ones are what they were."""
        for artifact, known in self.logs.items():
            found = self.versions.store.names(f"{artifact}/log")
            assert len(found) >= len(known), "the log lost lines"
            if len(found) > len(known):
                history = self.versions.history(artifact)
                assert [entry.number for entry in history] == list(range(1, len(history) + 1))
                assert [entry.key for entry in history[: len(known)]] == [key for key, _ in known]
                known += [(entry.key, self.clock.at) for entry in history[len(known) :]]

    # what holds after every step

    @invariant()
    def all_hold(self):
        if not hasattr(self, "folder"):
            return
        StoreModel.steps += 1
        self.turn += 1
        self.every_version_is_whole()
        for artifact, log in self.logs.items():
            latest = self.versions.latest(artifact)
            assert (latest.key if latest else None) == (log[-1][0] if log else None)
        committed = {version for version, is_committed in prefixes(self.store).items() if is_committed}
        assert self.must_exist() <= committed, "a version that counts was removed"
        day_ago = self.clock.at.timestamp() - 24 * 3600
        self.readers = [(manifest, at) for manifest, at in self.readers if at.timestamp() > day_ago]
        if self.readers:
            assert_whole(self.store, self.readers[self.turn % len(self.readers)][0])

    def every_version_is_whole(self):
        """Each has its files, its digest (read again where a file is another than before), and its inputs."""
        there = prefixes(self.store)
        for version in [version for version, is_committed in there.items() if is_committed]:
            if version not in self.verified:
                self.verified[version] = self.versions.find(*version.split("/"))
                assert_whole(self.store, self.verified[version])
            manifest = self.verified[version]
            for part in manifest.parts:
                assert self.store.size(f"{version}/parts/{part.name}") == part.bytes
            for needed in manifest.made_from:
                assert there.get(needed), f"{version} was made from {needed}, which is gone"
        for version in set(self.verified) - {version for version, is_committed in there.items() if is_committed}:
            del self.verified[version]

    def must_exist(self):
        """By the rules as a user reads them: the newest, the recent, and where aliases point now."""
        found = set()
        for artifact, log in self.logs.items():
            keys = list(dict.fromkeys(key for key, _ in reversed(log)))[: RETENTION.keep]
            keys += [key for key, at in log if (self.clock.at - at).days < RETENTION.keep_days]
            past = [move for move in self.aliases.get(artifact, []) if move[0] <= self.clock.before(0)]
            keys += [max(past, key=lambda move: move[0])[1]] if len({move[0] for move in past}) == len(past) > 0 else []
            found |= {f"{artifact}/{key}" for key in keys}
        return found

    def settle(self):
        """Long after, nothing is left but what counts, and what is gone says so."""
        self.is_over = True
        for _ in range(2):
            self.clock.tick(24 * 30)
            self.gc()
        self.all_hold()
        there, kept = prefixes(self.store), set()
        waiting = [f"{artifact}/{key}" for artifact in MAKERS for key in self.ends(artifact)]
        while waiting:
            version = waiting.pop()
            kept.add(version)
            waiting += self.verified[version].made_from
        assert set(there) == kept and all(there.values())
        assert not self.store.names("sweeps") and not self.store.names("gc")
        for artifact, log in self.logs.items():
            for number, (key, _) in enumerate(log, 1):
                if f"{artifact}/{key}" not in kept:
                    with pytest.raises(UnknownVersion, match=r"was removed from .* by pangu gc at 2"):
                        self.versions.resolve(f"{artifact}@{number}")

    def ends(self, artifact):
        log, moves = self.logs[artifact], self.versions.alias_moves(artifact, "champion")
        return [*list(dict.fromkeys(key for key, _ in reversed(log)))[: RETENTION.keep], *(m.key for m in moves[-1:])]


def explore(num_seeds, num_steps, phases, least):
    """Hypothesis may end a run before `num_steps`, where it has drawn too many numbers: least is what all runs do."""
    StoreModel.steps = StoreModel.removed = StoreModel.given_up = 0
    chosen = settings(
        max_examples=num_seeds,
        stateful_step_count=num_steps,
        derandomize=True,
        database=None,
        deadline=None,
        phases=phases,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(StoreModel, settings=chosen)
    told = f"{StoreModel.steps} steps, {StoreModel.removed} versions removed, {StoreModel.given_up} jobs given up"
    print(told)
    assert StoreModel.steps >= least, told
    assert StoreModel.removed > 0 and StoreModel.given_up > 0, told


@pytest.mark.reliability(5)
def test_the_store_holds_its_model_for_some_steps():
    explore(8, 60, (Phase.generate, Phase.shrink), least=8 * 45)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.reliability(5)
def test_the_store_holds_its_model_for_500_steps_of_50_seeds():
    explore(75, 500, (Phase.generate,), least=50 * 500)
