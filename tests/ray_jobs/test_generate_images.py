"""The generation job: full batches, every prompt a row, poison rows, marks and filters, containers."""

import io
import json
import tarfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pangu.errors import RowMemoryError
from pangu.output_filter import Verdict
from pangu.provenance import read_origin
from ray_jobs.errors import JobError
from ray_jobs.generate_images import GenerateWorker, _check_failures
from ray_jobs.generated_rows import GENERATED
from ray_jobs.generation_configs import GenerateImages
from ray_jobs.generation_plan import padding_rows, plan_parts, rows_of_part
from ray_jobs.generation_worker import make_each
from ray_jobs.parts import PartSummary, read_part, read_rows
from ray_jobs.register_prompts import PROMPTS
from ray_jobs.tar_shards import member_name
from tests.ray_jobs.generation_job import RECORDS, InProcess, poison


@pytest.mark.reliability(7)
@pytest.mark.reliability(25)
@pytest.mark.parametrize("container", ["parquet", "webdataset"])
def test_every_prompt_ends_as_a_marked_picture_or_a_reason(job, container):
    manifest = job.generate(container=container, encode_format="webp", encode_quality=80)
    rows = {
        row["prompt_id"]: row
        for part in manifest.parts
        for row in read_part(job.store, manifest, part.name).to_pylist()
    }
    assert rows.keys() == {record["prompt_id"] for record in RECORDS} and manifest.rows == len(RECORDS)
    assert manifest.counts["kept"] == 7 and rows["empty"]["reason"] == "no_prompt"
    assert rows["nowhere"]["reason"].startswith("refused: size: got 63x64, expected one of ")
    assert (
        rows["wide"]["seed"] == 11 and rows["wide"]["category"] == "Animals" and rows["sized"]["negative"] == "blurry"
    )
    experts = manifest.inputs["experts"].digest
    for row in rows.values():
        assert (row["reason"] is None) == (row["image"] is not None) == (row["image_sha256"] is not None)
        if row["reason"] is None:
            origin = read_origin(row["image"]["bytes"])
            assert (origin.system, origin.version) == ("PanGu-Draw", experts)
            picture = Image.open(io.BytesIO(row["image"]["bytes"]))
            assert picture.format == "WEBP" and picture.size == (row["width"], row["height"])
    mark = manifest.facts["mark"]
    assert "trainedAlgorithmicMedia" in mark["metadata"] and mark["watermark"] == mark["content_credentials"] == "none"
    if container == "webdataset":
        bare = [name for name in job.store.names(manifest.prefix) if name.endswith(".tar")]
        with tarfile.open(fileobj=io.BytesIO(job.store.read(bare[0]))) as tar:
            names = tar.getnames()
        assert [name.rsplit(".", 1)[1] for name in names] == ["webp", "json"] * (len(names) // 2) and names
        assert len({name.rsplit(".", 1)[0] for name in names}) == len(names) // 2
        table = pq.read_table(io.BytesIO(job.store.read(f"{manifest.prefix}/parts/{manifest.parts[0].name}")))
        assert not any((image or {}).get("bytes") for image in table.column("image").to_pylist()), "stored once"


@pytest.mark.reliability(24)
def test_pixels_and_digest_do_not_depend_on_part_size_container_or_order(job, tmp_path, tiny_base):
    first = job.generate()
    assert first.facts["batches"]["padding_rows"] == 4, "5 square, 1 wide, 1 sized and 1 nowhere in batches of 2"
    other = InProcess(tmp_path / "other", tiny_base)
    other.register(RECORDS[::-1], rows_per_part=1)
    second = other.generate(images_per_part=2, runtime={"workers": 1})
    assert second.key == first.key and second.digest == first.digest
    assert len(second.parts) > len(first.parts)
    tars = other.generate(container="webdataset")
    pixels = [
        {row["key"]: row["image_sha256"] for row in read_rows(store, manifest, ["key", "image_sha256"]).to_pylist()}
        for store, manifest in ((job.store, first), (other.store, tars))
    ]
    assert pixels[0] == pixels[1]


def test_groups_fill_batches_across_the_whole_list(job):
    records = [{"prompt": f"p {n}", "bucket": n % 3} for n in range(48)]
    prompts = job.register(records, rows_per_part=4)
    config = GenerateImages(batch_size=4, images_per_part=8, samples_per_prompt=2)
    parts = plan_parts(job.store, prompts, config)
    assert [part.count for part in parts] == [8] * 12 and padding_rows(parts, 4) == 0
    rows = [
        (row["prompt_id"], index) for part in parts for row, index in rows_of_part(job.store, prompts, config, part)
    ]
    assert len(rows) == len(set(rows)) == 96
    again = plan_parts(job.store, job.register(records[::-1], rows_per_part=16), config)
    assert again == parts, "the plan does not depend on how the prompts were cut"
    odd = plan_parts(job.store, prompts, config.model_copy(update={"samples_per_prompt": 3, "images_per_part": 5}))
    rows = [
        (row["prompt_id"], index)
        for part in odd
        for row, index in rows_of_part(job.store, prompts, config.model_copy(update={"samples_per_prompt": 3}), part)
    ]
    assert len(rows) == len(set(rows)) == 144


class Poisonous:
    """A real generator that one prompt breaks, whatever stands beside it."""

    rows_per_batch = 2

    def __init__(self, generator, error=None):
        self.generator, self.error, self.calls = generator, error or RuntimeError("tokens ran dry"), 0

    def check(self, request):
        self.generator.check(request)

    def generate(self, requests, on_step=None):
        self.calls += 1
        if any("poison" in request.prompt for request in requests):
            raise self.error
        return self.generator.generate(requests, on_step)


def requests_of(prompts):
    from pangu.generation_request import GenerationRequest

    return [
        GenerationRequest(key=str(n), prompt=prompt, seed=n, steps=1, guidance=1.0) for n, prompt in enumerate(prompts)
    ]


@pytest.mark.reliability(7)
def test_a_poison_row_is_found_and_the_others_keep_their_pixels(generator):
    requests = requests_of(["a ball", "a box", "poison", "a tree", "a fish"])
    expected = {made.request.key: made.sha256 for made in generator.generate(requests)}
    poisonous = Poisonous(generator)
    outcomes = make_each(poisonous, requests)
    assert [type(outcomes[str(n)]).__name__ for n in range(5)] == [
        "GeneratedImage",
        "GeneratedImage",
        "RuntimeError",
        "GeneratedImage",
        "GeneratedImage",
    ]
    assert all(outcomes[key].sha256 == expected[key] for key in expected if key != "2")
    assert poisonous.calls <= 7


def test_rows_that_do_not_fit_in_memory_are_named_and_the_others_are_not_made_again(generator):
    requests = requests_of(["a ball", "a box"])

    class Small:
        def generate(self, wanted, on_step=None):
            raise RowMemoryError(["1"], generator.generate(wanted[:1]))

    outcomes = make_each(Small(), requests)
    assert isinstance(outcomes["1"], RowMemoryError) and outcomes["0"].image.shape[2] == 3


@pytest.mark.reliability(7)
def test_a_poison_row_becomes_a_row_with_a_reason_up_to_a_share(job, monkeypatch):
    poison(monkeypatch, word="3")
    with pytest.raises(JobError, match=r"1 of 9 pictures failed, which is above max_failed_share = 0\.05"):
        job.generate()
    stored = len([name for name in job.store.names("generated_images") if "/parts/" in name])
    manifest = job.generate(max_failed_share=0.2)
    assert len(manifest.parts) == stored and manifest.facts["took"]["images"] == 0, "what was stored counts"
    assert manifest.counts["failed: RuntimeError: tokens ran dry"] == 1 and manifest.counts["kept"] == 6
    _check_failures([], GenerateImages())


def test_a_generator_that_makes_nothing_fails_the_job_and_blames_no_row(job, monkeypatch):
    poison(monkeypatch, word="")
    with pytest.raises(JobError, match="not even an empty prompt can be sampled"):
        job.generate()
    assert not [name for name in job.store.names("generated_images") if "/parts/" in name]


class DarkFilter:
    """Blocks what is darker than its threshold: as a classifier would, from the pixels."""

    name = "dark"

    def __init__(self, weights, thresholds):
        self.most = thresholds["dark"]

    def __call__(self, images):
        scores = [1 - float(np.mean(image)) / 255 for image in images]
        return [Verdict({"dark": s}, f"dark {s:.2f}" if s >= self.most else None) for s in scores]


def test_a_blocked_picture_leaves_its_row_and_its_scores(job, monkeypatch):
    import sys
    import types

    module = types.ModuleType("dark_filter")
    module.make = DarkFilter
    monkeypatch.setitem(sys.modules, "dark_filter", module)
    manifest = job.generate(output_filter={"factory": "dark_filter:make", "thresholds": {"dark": 0.0}})
    rows = read_rows(job.store, manifest).to_pylist()
    blocked = [row for row in rows if (row["reason"] or "").startswith("blocked: dark")]
    assert len(blocked) == 7 and manifest.counts["kept"] == 0
    assert all(row["image"] is None and json.loads(row["filter_scores"])["dark"] > 0 for row in blocked)
    open_to_all = job.generate(output_filter={"factory": "dark_filter:make", "thresholds": {"dark": 2.0}})
    assert open_to_all.counts["kept"] == 7
    with pytest.raises(ValueError, match="dark_filter:none' is not there"):
        job.generate(output_filter={"factory": "dark_filter:none"})


@pytest.mark.reliability(25)
def test_what_cannot_be_marked_is_not_stored(job):
    manifest = job.generate(mark={"watermark": "pattern"}, max_failed_share=1.0)
    rows = read_rows(job.store, manifest).to_pylist()
    unmarked = [row for row in rows if (row["reason"] or "").startswith("unmarked: watermark: a picture of ")]
    assert len(unmarked) == 7 and all(row["image"] is None for row in unmarked)


@pytest.mark.reliability(25)
def test_signed_pictures_verify_and_their_digest_is_that_of_a_second_run(job, tmp_path, tiny_base):
    pytest.importorskip("c2pa", reason="c2pa-python is an extra")
    from pangu.content_credentials import read_credentials, write_development_certificate

    certificate, key = write_development_certificate(tmp_path / "keys")
    mark = {"c2pa_certificate": str(certificate), "c2pa_private_key": str(key)}
    manifest = job.generate(mark=mark)
    assert str(tmp_path) not in manifest.encode().decode(), "neither the key nor its place is written down"
    for row in read_rows(job.store, manifest).to_pylist():
        if row["reason"] is None:
            assert read_credentials(row["image"]["bytes"], "png").version == manifest.inputs["experts"].digest
    other = InProcess(tmp_path / "other", tiny_base)
    other.register(RECORDS)
    assert other.generate(mark=mark).digest == manifest.digest


def test_member_names_are_safe_and_unique():
    assert member_name("scene-0-00001/3") == "scene-0-00001-3"
    keys = [
        "a/b/0",
        "a-b/0",
        "a.b/0",
        "../../etc/passwd/0",
        "汉字/0",
        "x" * 300 + "/0",
        "x" * 300 + "/1",
        "a b/0",
        "a~2/0",
    ]
    names = [member_name(key) for key in keys]
    assert len(set(names)) == len(keys)
    assert all(name.isascii() and len(name) < 120 and not set(name) & set("/.\\ ") for name in names)


def test_the_rows_that_a_summary_counts_are_the_rows_of_the_schema():
    assert {"key", "image_sha256", "encoded_sha256", "reason"} <= set(GENERATED.names)
    assert set(PROMPTS.names) - {"size", "models"} <= set(GENERATED.names)
    assert GenerateWorker.__call__.__annotations__["return"].__name__ == "PartContent"
    assert PartSummary is not None and pa.types.is_struct(GENERATED.field("image").type)
