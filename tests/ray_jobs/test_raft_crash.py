"""RAFT killed in every phase of a round, and between a model and its mark: the run that goes on ends with the same winners.

Each life is a fork that kills itself with SIGKILL after so many steps of storing, and the next one goes on from the store.
"""

import os
import shutil
import signal
import traceback
from pathlib import Path

import pytest

from ray_jobs import kill_points, language_training
from ray_jobs.parts import read_rows
from ray_jobs.store import Store
from ray_jobs.versions import Versions
from tests.ray_jobs.generation_job import RECORDS, InProcess
from tests.ray_jobs.raft_job import Enhancing, without_ray

ROUNDS = {"rounds": 1, "num_held_out": 4, "prompts_per_part": 4}
PHASES = {
    "original_texts",
    "original",
    "sft_texts",
    "sft",
    "train_texts",
    "train",
    "winners",
    "enhanced_texts",
    "enhanced",
}
DECIDED = ["key", "text", "fault", "image_sha256", "rewards", "judge", "total", "is_winner", "reason"]


@pytest.fixture(scope="module")
def taught(tmp_path_factory, tiny_base, generator):
    """A store with a fine-tuned model, and a second one in which the rounds were played without a stop."""
    with pytest.MonkeyPatch.context() as patch:
        without_ray(patch, generator)
        made = InProcess(tmp_path_factory.mktemp("taught") / "store", tiny_base)
        made.register(RECORDS)
        enhancing = Enhancing(made.store)
        enhancing.teach()
        calm = copy_of(made.store, tmp_path_factory.mktemp("calm"))
        yield made.store, Enhancing(calm).raft(**ROUNDS), calm


def copy_of(store, folder):
    shutil.copytree(store.root, folder / "store")
    return Store(str(folder / "store"))


def live(store, point="", *, before=lambda: None):
    """Play in a fork until it ends or kills itself: True when it was killed."""
    child = os.fork()
    if child == 0:
        try:
            os.environ["PANGU_KILL_POINT"] = point
            kill_points._reached.clear()
            before()
            Enhancing(store).raft(**ROUNDS)
            os._exit(0)
        except Exception:
            traceback.print_exc()
            raise
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, "a life may be killed, not fail"
    return os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL


def assert_same(store, expected, calm):
    found = Versions(store).latest("raft_rounds")
    assert found.digest == expected.digest
    rows, wanted = (
        {row["key"]: {name: row[name] for name in DECIDED} for row in read_rows(each, version).to_pylist()}
        for each, version in ((store, found), (calm, expected))
    )
    assert rows == wanted and any(row["is_winner"] for row in rows.values())
    assert found.facts["figures"][1]["wins_over_sft"] == expected.facts["figures"][1]["wins_over_sft"]


@pytest.mark.slow
@pytest.mark.reliability(1)
def test_killed_after_every_part_through_all_phases_of_a_round(taught, tmp_path):
    store, expected, calm = taught
    store = copy_of(store, tmp_path)
    killed_in = set()
    while live(store, "part.after_create"):
        parts = [name for name in store.names("raft_rounds") if "/parts/" in name]
        newest = max(parts, key=lambda name: Path(store.path(name)).stat().st_mtime_ns)
        killed_in.add(newest.split("/")[-3])
    assert killed_in == PHASES
    assert_same(store, expected, calm)


@pytest.mark.slow
@pytest.mark.reliability(1)
@pytest.mark.parametrize("point", ["files.before_create", "model.before_create", "model.after_create"])
def test_killed_around_the_model_of_a_round(point, taught, tmp_path):
    store, expected, calm = taught
    store = copy_of(store, tmp_path)
    assert live(store, point)
    assert any("/train/parts/" in name for name in store.names("raft_rounds"))
    assert not any("/enhanced_texts/" in name for name in store.names("raft_rounds"))
    assert not live(store)
    assert_same(store, expected, calm)


@pytest.mark.reliability(1)
def test_killed_in_the_middle_of_fine_tuning_it_goes_on_from_the_checkpoint(taught, tmp_path):
    store, expected, calm = taught
    store = copy_of(store, tmp_path)

    def die_once_sent():
        send = language_training.CheckpointMirror.send

        def send_and_die(mirror):
            send(mirror)
            if mirror.sent:
                os.kill(os.getpid(), signal.SIGKILL)

        language_training.CheckpointMirror.send = send_and_die

    assert live(store, before=die_once_sent)
    assert any("/tuned/checkpoints/step-00000002/" in name for name in store.names("raft_rounds"))
    assert not live(store)
    assert_same(store, expected, calm)
