"""The engine of fusions over a real pair: what it makes is what the library makes, and it lets go."""

import io

import numpy as np
import pytest
from PIL import Image

from pangu.fusion_request import FusionRequest, MemberRequest, fuse
from pangu.weight_schedule import WeightSchedule
from ray_jobs.folder_versions import store_folder
from ray_jobs.manifest import Manifest, digest_of_files
from ray_jobs.service.engine import ExpertsLoader
from ray_jobs.service.fusion_engine import FusionLoader
from ray_jobs.service.fusion_orders import FusionOrder
from ray_jobs.service.refusal import Refused
from ray_jobs.service.work import Made, Refusal, Work
from ray_jobs.store import Store
from ray_jobs.versions import Versions

POINTS = ((200.0, 0.0), (500.0, 0.5))


@pytest.fixture(scope="module")
def engine(tiny_base, tmp_path_factory):
    store = Store(str(tmp_path_factory.mktemp("store")))
    name, parts = store_folder(store, "experts/served", tiny_base)
    facts = {"job": "publish_experts", "code_version": 1, "config": {}, "inputs": {}}
    digest = digest_of_files(parts)
    Versions(store).commit(Manifest(artifact="experts", key="served", digest=digest, folder=name, parts=parts, **facts))
    loader = FusionLoader("experts", ExpertsLoader(store, "experts", "cpu"))
    return loader.load(loader.find())


def work_of(seed=7, timeout_s=60.0, **fields):
    members = [
        {"name": "experts", "prompt": "a red ball"},
        {"name": "experts", "prompt": "蓝色的方块", "weight": POINTS},
    ]
    return Work("a", FusionOrder.model_validate({"members": members, "steps": 3, **fields}), seed, timeout_s)


def pixels(file):
    return np.asarray(Image.open(io.BytesIO(file)))


def test_the_served_pair_alone_is_a_member(engine):
    assert [(member.name, member.conditions) for member in engine.offer.members] == [("experts", 0)]
    assert engine.offer.model == "fusion@served"


def test_pictures_are_those_of_the_library(engine):
    (made,) = engine.sample([work_of(n=2)], lambda number, step: True)
    members = (
        MemberRequest("experts", "a red ball"),
        MemberRequest("experts", "蓝色的方块", weight=WeightSchedule(POINTS)),
    )
    wanted = fuse(engine.members, [FusionRequest(members, seed=seed, steps=3) for seed in (7, 8)])
    assert isinstance(made, Made) and made.model == "fusion@served"
    for file, image in zip(made.pictures, wanted, strict=True):
        assert np.array_equal(pixels(file), image)


def test_an_order_given_up_takes_no_further_step_and_the_next_is_made(engine):
    told = []

    def watch(number, step):
        told.append((number, step.step))
        return number != 0

    gone, made = engine.sample([work_of(1, n=2), work_of(2)], watch)
    assert isinstance(gone, Refusal) and isinstance(made, Made)
    assert told == [(0, 1), (1, 1), (1, 2), (1, 3)]


def test_orders_that_differ_in_words_alone_are_of_one_group(engine):
    other = [{"name": "experts", "prompt": "x"}, {"name": "experts", "prompt": "y", "weight": POINTS}]
    assert engine.group(work_of(1)) == engine.group(work_of(2, members=other))
    assert engine.group(work_of(1)) != engine.group(work_of(1, steps=4))
    with pytest.raises(Refused, match=r"weights: 1\.2 together at timestep 500"):
        thrice = [{"name": "experts"}, *[{"name": "experts", "weight": [(200, 0), (500, 0.6)]}] * 2]
        engine.group(work_of(1, members=thrice))
