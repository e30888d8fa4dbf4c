"""Members spread over processes: the same pictures, and made again when a process dies."""

import os
import signal

import numpy as np
import pytest
import torch

from pangu.fusion_request import FusionRequest, MemberRequest, fuse
from pangu.member_file import load_members
from ray_jobs.service.engine import ExpertsLoader
from ray_jobs.service.fusion_engine import FusionLoader
from ray_jobs.store import Store
from tests.pangu.small_pipelines import save_members

pytestmark = [
    pytest.mark.ray,
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning:diffusers"),
]

MEMBERS = """
[[member]]
name = "painter"
source = "sd"
role = "colours"
guidance = 5.0
controlnets = ["edges"]
detectors = ["canny"]

[[member]]
name = "tuned"
source = "sd_tuned"
weight = 0.2

[[member]]
name = "bridged"
source = "sd_tuned"
bridge = "sdxl/vae"
weight = 0.4

[[member]]
name = "large"
source = "sdxl"
weight = 0.3
"""


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    root = tmp_path_factory.mktemp("members")
    torch.set_num_threads(1)
    save_members(root)
    (root / "members.toml").write_text(MEMBERS)
    return root / "members.toml"


@pytest.fixture(scope="module")
def engine(file, local_ray, tmp_path_factory):
    store = Store(str(tmp_path_factory.mktemp("store")))
    loader = FusionLoader(str(file), ExpertsLoader(store, "experts", "cpu"), spread=True)
    return loader.load(loader.find())


def request(seed=7):
    picture = np.random.default_rng(3).integers(0, 256, (40, 40, 3)).astype(np.uint8)
    members = (
        MemberRequest("painter", "a red ball", condition_images=(picture,), detect=True),
        MemberRequest("tuned", "blue"),
        MemberRequest("bridged", "blue"),
        MemberRequest("large", "沙滩"),
    )
    return FusionRequest(members, seed=seed, steps=3, size=(32, 32))


def pid_of(engine, name):
    """The process of a member's host."""
    import ray

    return ray.get(engine.members[name].model.host.__ray_call__.remote(lambda host: os.getpid()))


def test_spread_members_draw_what_they_draw_together(engine, file):
    (wanted,) = fuse(load_members(file), [request()])
    (found,) = fuse(engine.members, [request()])
    assert np.abs(found.astype(int) - wanted).max() <= 1
    assert len({pid_of(engine, name) for name in engine.members} | {os.getpid()}) == 5
    assert engine.members["painter"].model.space is engine.members["tuned"].model.space, (
        "one autoencoder, one trajectory"
    )
    assert [member.detects for member in engine.offer.members] == [True, False, False, False]


def test_a_host_that_dies_is_started_again_and_the_picture_is_the_same(engine):
    (before,) = fuse(engine.members, [request(seed=9)])
    first = pid_of(engine, "large")
    killed = []

    def kill_once(step, total, preview):
        if not killed:
            os.kill(first, signal.SIGKILL)
            killed.append(step)

    (after,) = fuse(engine.members, [request(seed=9)], kill_once)
    assert killed == [1] and np.array_equal(before, after)
    assert pid_of(engine, "large") != first


def test_sizes_and_conditions_are_refused_without_asking_a_host(engine):
    with pytest.raises(ValueError, match="size: got"):
        engine.members["large"].model.check_size((33, 32))
    with pytest.raises(ValueError, match="condition_images"):
        fuse(engine.members, [FusionRequest((MemberRequest("painter", "a"),), steps=1, size=(32, 32))])


def test_a_member_that_cannot_be_loaded_is_named(file, local_ray):
    from ray_jobs.service.member_hosts import spread_members

    broken = file.parent / "broken.toml"
    broken.write_text('[[member]]\nname = "lost"\nsource = "nowhere"\n')
    with pytest.raises(RuntimeError, match=r"member 'lost' could not be loaded(.|\n)*nowhere"):
        spread_members(broken, "cpu")
