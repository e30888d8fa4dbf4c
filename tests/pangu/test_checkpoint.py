import shutil

import pytest
import torch

from pangu.checkpoint import TrainingState, is_whole, latest_checkpoint, load_checkpoint, save_checkpoint
from pangu.errors import CheckpointError
from pangu.time_range import Role, TimeRange


def make_state(identity, step):
    weights = {"w": torch.full((300,), float(step)), "b": torch.zeros(3)}
    moments = {"0.step": torch.tensor(float(step)), "0.exp_avg": torch.ones(300)}
    losses = tuple(0.1 * i for i in range(step))
    return TrainingState(step, weights, weights, step, moments, losses, identity)


@pytest.fixture
def identity(identities):
    return identities[Role.STRUCTURE]


def test_a_state_comes_back_to_the_bit(identity, tmp_path):
    state = make_state(identity, 3)
    loaded = load_checkpoint(save_checkpoint(tmp_path, state), identity)
    assert (loaded.step, loaded.losses, loaded.ema_updates) == (3, state.losses, 3)
    for name in ("model", "ema", "optimizer"):
        assert all(torch.equal(getattr(loaded, name)[key], value) for key, value in getattr(state, name).items())


@pytest.mark.reliability(13)
@pytest.mark.parametrize(
    "file", ["model.safetensors", "ema.safetensors", "optimizer.safetensors", "state.json", "digests.json"]
)
def test_a_torn_newest_checkpoint_is_passed_over(identity, tmp_path, file):
    older = save_checkpoint(tmp_path, make_state(identity, 1))
    newer = save_checkpoint(tmp_path, make_state(identity, 2))
    content = (newer / file).read_bytes()
    for length in range(0, len(content), max(1, len(content) // 7)):
        (newer / file).write_bytes(content[:length])
        assert not is_whole(newer)
        assert latest_checkpoint(tmp_path) == older
        with pytest.raises(CheckpointError, match="torn"):
            load_checkpoint(newer, identity)
    (newer / file).write_bytes(content)
    assert latest_checkpoint(tmp_path) == newer
    (newer / file).unlink()
    assert latest_checkpoint(tmp_path) == older


@pytest.mark.reliability(13)
def test_a_save_that_dies_leaves_the_older_checkpoint(identity, tmp_path, monkeypatch):
    older = save_checkpoint(tmp_path, make_state(identity, 1))

    def die(path):
        raise KeyboardInterrupt

    monkeypatch.setattr("pangu.checkpoint._flush", die)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(tmp_path, make_state(identity, 2))
    assert latest_checkpoint(tmp_path) == older
    assert [path.name for path in tmp_path.iterdir()] == [older.name]


def test_only_the_newest_are_kept(identity, tmp_path):
    for step in (1, 2, 3):
        save_checkpoint(tmp_path, make_state(identity, step), keep=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000002", "step-00000003"]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"role": Role.TEXTURE}, "role"),
        ({"time_range": TimeRange(start=0, stop=500)}, "time_range"),
        ({"prediction_type": "v_prediction"}, "prediction_type"),
        ({"buckets": ()}, "buckets"),
    ],
)
def test_another_experts_checkpoint_is_refused(identity, tmp_path, change, field):
    path = save_checkpoint(tmp_path, make_state(identity, 1))
    with pytest.raises(CheckpointError, match=field):
        load_checkpoint(path, type(identity).model_validate(identity.model_dump() | change))


def test_no_checkpoint_is_none(tmp_path):
    assert latest_checkpoint(tmp_path / "nothing") is None
    shutil.rmtree(tmp_path)
    assert latest_checkpoint(tmp_path) is None
