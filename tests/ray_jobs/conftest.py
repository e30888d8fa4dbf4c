"""A small local Ray, a small sample site on loopback, and a way to run jobs in a store."""

import copy
import json
import os

import pytest


@pytest.fixture(scope="session")
def local_ray(tmp_path_factory):
    """Four logical CPUs on this machine, with a token of its own."""
    token = tmp_path_factory.mktemp("ray") / "token"
    token.write_text("a" * 64)
    os.environ["RAY_AUTH_TOKEN_PATH"] = str(token)
    os.environ["RAY_AUTH_MODE"] = "token"
    import ray

    ray.init("local", num_cpus=4, include_dashboard=False, log_to_driver=False, object_store_memory=300 * 2**20)
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def crashing_by_value():
    """Ray's workers cannot import the tests: the worker class of `crashing` travels as code."""
    from ray import cloudpickle

    from tests.ray_jobs import crashing

    cloudpickle.register_pickle_by_value(crashing)
    yield
    cloudpickle.unregister_pickle_by_value(crashing)


@pytest.fixture(scope="session")
def sample_site(tmp_path_factory):
    """Forty drawn scenes, the photographs and every trouble of real lists, served on loopback: (URL list, host:port)."""
    from curation.sample.http_server import SampleServer
    from curation.sample.site import write_site, write_url_list

    folder = tmp_path_factory.mktemp("site")
    rows = write_site(folder, num_scenes=40, side_px=160)
    with SampleServer(folder) as server:
        url_list = folder / "url_list.jsonl"
        write_url_list(rows, server.url, url_list)
        yield url_list, server.url.removeprefix("http://").rstrip("/")


@pytest.fixture(scope="session")
def run_in(local_ray):
    """run(store, job, **settings) -> outcome, over the sample preset."""

    def run(store, job, references=None, **settings):
        from ray_jobs.config import job_settings
        from ray_jobs.job import plan_job, run_job

        plan = plan_job(job, job_settings(job, "sample", settings), references or {}, store)
        return run_job(plan, store)

    return run


@pytest.fixture(scope="session")
def curate(run_in, sample_site):
    """Run the chain from the list to the training set; the digests by artifact."""
    url_list, host = sample_site

    def run(store, *, workers=2, rows_per_part=40, path=url_list):
        runtime = {"workers": workers, "cpus_per_worker": 0.5}
        outcomes = [
            run_in(store, "register_url_list", path=str(path), rows_per_part=rows_per_part),
            run_in(store, "download_images", allow_hosts=[host], timeout_s=1.5, retries=0, runtime=runtime),
            run_in(store, "score_images", runtime=runtime),
            run_in(store, "build_training_set"),
        ]
        return {outcome.manifest.artifact: outcome.manifest for outcome in outcomes}

    return run


@pytest.fixture
def shuffled_list(sample_site, tmp_path):
    """The same URL list in another order."""
    import random

    lines = sample_site[0].read_text(encoding="utf-8").splitlines()
    random.Random(5).shuffle(lines)
    path = tmp_path / "shuffled.jsonl"
    path.write_text("\n".join(lines), encoding="utf-8")
    assert all(json.loads(line) for line in lines)
    return path


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory):
    """A pipeline folder of the sample's shape with narrow random networks and the sample scorer's text tower."""
    from tests.ray_jobs.tiny_pair import write_tiny_pair

    return write_tiny_pair(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def generator(tiny_base):
    """A narrow pair, loaded once a file, in batches of two."""
    from pangu.diffusers_generator import load_generator

    return load_generator(tiny_base, rows_per_batch=2)


@pytest.fixture
def job(tmp_path, tiny_base, generator, monkeypatch):
    """The job with its parts done in this process."""
    from ray_jobs import generation_worker, part_runner
    from ray_jobs.attempts import Attempts
    from ray_jobs.part_runner import WorkerSetup
    from tests.ray_jobs.generation_job import RECORDS, InProcess

    monkeypatch.setattr(generation_worker, "load_model", lambda store, config, experts: copy.copy(generator))

    def schedule(context, missing, worker, prefix):
        setup = WorkerSetup(context.store, context.config, dict(context.plan.inputs), prefix)
        attempts = Attempts(context.store, prefix)
        task = part_runner._PartTask(setup, worker, attempts, context.artifact)
        for part in missing:
            for line in task({"part": [part]})["line"]:
                yield json.loads(line)

    monkeypatch.setattr(part_runner, "_schedule", schedule)
    made = InProcess(tmp_path / "store", tiny_base)
    made.register(RECORDS)
    return made
