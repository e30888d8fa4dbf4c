"""The engine of a pair: its pictures are those of the one generator, filtered and marked."""

import io
import json

import numpy as np
import pytest
from PIL import Image

from curation.buckets import SAMPLE_BUCKETS
from pangu.generate import GenerationRequest, Generator
from pangu.output_filter import Verdict
from pangu.pipeline import load_experts
from pangu.provenance import read_origin
from ray_jobs.errors import UnknownVersion
from ray_jobs.folder_versions import store_folder
from ray_jobs.manifest import Manifest, digest_of_files
from ray_jobs.service.engine import ExpertsEngine, ExpertsLoader
from ray_jobs.service.orders import ImageOrder
from ray_jobs.service.work import Made, Refusal, Work
from ray_jobs.store import Store
from ray_jobs.versions import Versions


@pytest.fixture(scope="module")
def experts_store(tiny_base, tmp_path_factory):
    store = Store(str(tmp_path_factory.mktemp("store")))
    name, parts = store_folder(store, "experts/served", tiny_base)
    facts = {"job": "publish_experts", "code_version": 1, "config": {}, "inputs": {}}
    made = Manifest(
        artifact="experts", key="served", digest=digest_of_files(parts), folder=name, parts=parts, **facts
    )  # fmt: skip
    Versions(store).promote(Versions(store).commit(made), "champion")
    return store


@pytest.fixture(scope="module")
def engine(experts_store):
    loader = ExpertsLoader(experts_store, "experts@champion", "cpu")
    return loader.load(loader.find())


def work_of(seed=7, **fields):
    return Work("a", ImageOrder(prompt="a red ball", **{"steps": 4, **fields}), seed, 60.0)


def pixels(file):
    return np.asarray(Image.open(io.BytesIO(file)))


def sample(engine, *works, watch=lambda number, step: True):
    return engine.sample(works, watch)


def test_pictures_are_those_of_the_one_generator(engine, tiny_base):
    wide = next(row.index for row in SAMPLE_BUCKETS.rows if row.structure == (32, 128))
    order = {"n": 2, "size": "128x32", "styles": {"cartoon": 2.0}, "negative_prompt": "blue", "guidance": 3.0}
    (made,) = sample(engine, work_of(**order))
    assert (made.model, made.size) == ("experts@served", "128x32")
    asked = [
        GenerationRequest(
            key=str(seed), prompt="a red ball", negative="blue", seed=seed, bucket=wide, steps=4, guidance=3.0,
            styles={"cartoon": 2.0},
        )
        for seed in (7, 8)
    ]  # fmt: skip
    wanted = Generator(load_experts(tiny_base), rows_per_batch=8).generate(asked)
    for file, image in zip(made.pictures, wanted, strict=True):
        assert np.array_equal(pixels(file), image.image)
        assert (read_origin(file).system, read_origin(file).version) == ("PanGu-Draw", engine.offer.digest)


def test_a_picture_does_not_depend_on_who_asks_beside_it_nor_on_who_leaves(engine):
    (alone,) = sample(engine, work_of(21))
    beside = sample(
        engine, *(work_of(seed) for seed in (20, 21, 22)), watch=lambda number, step: number != 0 or step.step < 2
    )
    assert beside[1] == alone
    assert isinstance(beside[0], Refusal), "given up: nobody reads its end"


def test_steps_are_told_with_previews_where_they_are_wanted(engine):
    seen = []
    sample(
        engine, work_of(partial_images=1), work_of(8), watch=lambda number, step: seen.append((number, step)) or True
    )
    assert [(number, step.step) for number, step in seen] == [(n, s) for s in range(1, 5) for n in (0, 1)]
    shown = [(number, step.step) for number, step in seen if step.previews]
    assert shown == [(0, 2)]
    preview = seen[2][1].previews[0]
    assert pixels(preview).shape == (64, 64, 3) and read_origin(preview)


def test_the_filter_sees_pictures_and_previews_and_blocks_both(engine):
    looked = []

    class Bright:
        name = "bright"

        def __call__(self, images):
            looked.extend(images)
            return [Verdict(blocked="bright")] * len(images)

    filtered = ExpertsEngine(engine.generator, engine.offer, Bright())
    steps = []
    (made,) = sample(filtered, work_of(n=2, partial_images=1), watch=lambda _, step: steps.append(step) or True)
    assert made == Made("experts@served", "64x64", (None, None))
    assert len(looked) == 4 and not any(step.previews for step in steps)


def test_only_what_there_is_can_be_served(experts_store):
    with pytest.raises(UnknownVersion, match="numbers 1 to 1"):
        ExpertsLoader(experts_store, "experts@9").find()
    with pytest.raises(ValueError, match="accepted are experts"):
        ExpertsLoader(experts_store, "images@9").find()
    with pytest.raises(ValueError, match="factory"):
        ExpertsLoader(experts_store, "experts", "cpu", {"factory": "nowhere"}).load("served")
    assert json.dumps(ExpertsLoader(experts_store, "experts@champion").find()) == '"served"'
