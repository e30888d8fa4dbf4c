"""The generation service on a real local Serve, over a small pair with random weights."""

import base64
import http.client
import io
import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from PIL import Image

from curation.buckets import SAMPLE_BUCKETS
from pangu.bucket_conditioning import bucket_sizes
from pangu.checkpoint import ExpertIdentity
from pangu.generate import GenerationRequest, Generator
from pangu.networks import build_sample_autoencoder, build_unet
from pangu.pipeline import ExpertsCard, PanGuDrawPipeline, load_experts
from pangu.provenance import read_origin
from pangu.text_encoder import ClipTextEncoder
from pangu.time_range import Role, TimeSplit
from ray_jobs.folder_versions import store_folder
from ray_jobs.job_configs import PREFIXES, SAMPLE_MODELS
from ray_jobs.manifest import Manifest, digest_of_files
from ray_jobs.store import Store
from ray_jobs.versions import Versions

pytestmark = [
    pytest.mark.ray,
    # Serve's own schema, at its first import
    pytest.mark.filterwarnings("ignore:Using extra keyword arguments on `Field`:DeprecationWarning"),
]
KEY = "a-key-of-the-test"


@pytest.fixture(scope="module")
def experts_folder(tmp_path_factory):
    torch.set_num_threads(1)
    torch.manual_seed(0)
    small = {"block_out_channels": (16, 32), "layers_per_block": 1, "attention_head_dim": (2, 4), "norm_num_groups": 8}
    buckets = bucket_sizes(json.loads(SAMPLE_BUCKETS.to_json()))
    split = TimeSplit()
    pair = {
        r: ExpertIdentity(role=r, time_range=split.range_of(r), buckets=buckets) for r in (Role.STRUCTURE, Role.TEXTURE)
    }
    modules = {
        "structure": build_unet("sample", **small).eval(),
        "texture": build_unet("sample", **small).eval(),
        "vae": build_sample_autoencoder().eval(),
        "text_encoder": ClipTextEncoder.from_scorer(SAMPLE_MODELS / "scorer"),
    }
    card = ExpertsCard(structure=pair[Role.STRUCTURE], texture=pair[Role.TEXTURE], prefixes=PREFIXES)
    folder = tmp_path_factory.mktemp("experts")
    PanGuDrawPipeline.build(modules, card).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def experts_store(experts_folder, tmp_path_factory):
    store = Store(str(tmp_path_factory.mktemp("store")))
    name, parts = store_folder(store, "experts/served", experts_folder)
    facts = {"job": "publish_experts", "code_version": 1, "config": {}, "inputs": {}}
    digest = digest_of_files(parts)
    Versions(store).commit(Manifest(artifact="experts", key="served", digest=digest, folder=name, parts=parts, **facts))
    return store


@pytest.fixture(scope="module")
def port(local_ray, experts_store):
    """Where the service listens."""
    from ray import serve

    from ray_jobs.serve_generation import build

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number = probe.getsockname()[1]
    serve.start(http_options={"host": "127.0.0.1", "port": number})
    serve.run(build(experts_store, "experts", KEY, "cpu"), name="generation")
    yield number
    serve.shutdown()


def ask(port, method, path, body=None, key=KEY, timeout=120):
    """(status, headers, JSON or text) of one request."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        answer = connection.getresponse()
        text = answer.read().decode()
        kind = answer.headers.get("content-type", "")
        return answer.status, answer.headers, json.loads(text) if kind.startswith("application/json") else text
    finally:
        connection.close()


def draw(port, **fields):
    return ask(port, "POST", "/v1/images/generations", {"prompt": "a red ball", "steps": 2, "seed": 7, **fields})


def pixels(entry):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(entry["b64_json"]))))


def test_pictures_are_those_of_the_one_generator(port, experts_folder):
    status, _, answer = draw(port, n=3, size="128x32")
    assert status == 200 and answer["model"] == "experts@served" and abs(answer["created"] - time.time()) < 60
    assert [entry["seed"] for entry in answer["data"]] == [7, 8, 9]
    generator = Generator(load_experts(experts_folder), rows_per_batch=8)
    wide = next(row.index for row in SAMPLE_BUCKETS.rows if row.structure == (32, 128))
    asked = [GenerationRequest(key=str(s), prompt="a red ball", seed=s, bucket=wide, steps=2) for s in (7, 8, 9)]
    for entry, wanted in zip(answer["data"], generator.generate(asked), strict=True):
        assert pixels(entry).shape == (32, 128, 3)
        assert np.array_equal(pixels(entry), wanted.image)
        assert read_origin(base64.b64decode(entry["b64_json"])).system == "PanGu-Draw"


def test_a_picture_does_not_depend_on_who_asks_beside_it(port):
    alone = draw(port, seed=21)[2]["data"][0]
    with ThreadPoolExecutor(6) as pool:
        together = list(pool.map(lambda seed: draw(port, seed=seed, prompt="a red ball")[2]["data"][0], range(18, 24)))
    assert np.array_equal(pixels(together[3]), pixels(alone))
    assert len({entry["b64_json"] for entry in together}) == 6


def test_health_names_the_version_and_needs_no_key(port):
    status, _, answer = ask(port, "GET", "/health", key=None)
    assert (status, answer["status"], answer["key"], answer["default_size"]) == (200, "ok", "served", "64x64")


def test_bad_input_is_400_and_a_stranger_401(port):
    status, _, answer = draw(port, n=5)
    assert status == 400
    assert answer["error"] == {
        "message": "n = 5: input should be less than or equal to 4",
        "type": "invalid_request_error",
        "param": "n",
        "code": None,
    }
    status, headers, answer = ask(port, "POST", "/v1/images/generations", {"prompt": "x"}, key="wrong")
    assert status == 401 and headers["WWW-Authenticate"] == "Bearer" and "wrong" not in json.dumps(answer)


def test_an_overload_is_503_with_retry_after_and_the_admitted_are_served(port):
    with ThreadPoolExecutor(48) as pool:
        answers = list(pool.map(lambda seed: draw(port, seed=seed, steps=8), range(48)))
        bad = draw(port, n=9)
    statuses = sorted(status for status, _, _ in answers)
    assert set(statuses) == {200, 503} and statuses.count(200) >= 8
    for status, headers, answer in answers:
        if status == 503:
            assert int(headers["Retry-After"]) > 0
            assert answer["error"]["type"] == "server_error"
    assert bad[0] == 400


def test_work_for_a_client_that_went_is_dropped(port):
    """A large order, left at once, does not keep the next client waiting for its steps."""
    large = {"prompt": "x", "n": 4, "steps": 100, "seed": 1}
    started = time.monotonic()
    assert draw(port, **large)[0] == 200
    whole_order_s = time.monotonic() - started
    waits_s = []
    for _ in range(3):
        with pytest.raises(TimeoutError):
            ask(port, "POST", "/v1/images/generations", large, timeout=0.2)
        started = time.monotonic()
        assert draw(port, steps=1)[0] == 200
        waits_s.append(time.monotonic() - started)
    assert min(waits_s) < 0.4 * whole_order_s, (waits_s, whole_order_s)


def test_a_batch_that_nobody_waits_for_stops_and_one_with_a_client_does_not(experts_store):
    from ray_jobs.generation_order import ImageOrder
    from ray_jobs.serve_generation import ExpertsModel, Job, Work

    model = ExpertsModel.func_or_class(experts_store, Versions(experts_store).resolve("experts"), "cpu")
    work = Work(ImageOrder(prompt="a star", steps=2), bucket=5, seed=3)
    gone, waiting = Job(work), Job(work, threading.Event())
    gone.is_over.set()
    assert model.sample([gone, gone]) == [[], []]
    assert [len(made) for made in model.sample([gone, waiting])] == [1, 1]


def test_only_experts_are_served(experts_store):
    from ray_jobs.errors import UnknownVersion
    from ray_jobs.serve_generation import app, build

    with pytest.raises(UnknownVersion, match="numbers 1 to 1"):
        build(experts_store, "experts@9")
    with pytest.raises(ValueError, match="none are accepted"):
        app({"experts": "experts@1"})
