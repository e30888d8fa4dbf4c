"""From a URL list to a training set on a real Ray, a real HTTP server, a folder and S3."""

import pytest

from ray_jobs.errors import JobError
from ray_jobs.parts import read_rows
from ray_jobs.store import Store
from ray_jobs.versions import Versions

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module")
def first(request, tmp_path_factory):
    return Store(str(tmp_path_factory.mktemp("first")))


@pytest.mark.reliability(7)
def test_every_url_ends_as_a_row_with_a_reason_or_a_picture(curate, first, sample_site):
    found = curate(first)
    num_urls = len(sample_site[0].read_text(encoding="utf-8").splitlines())
    for name in ("url_list", "images", "scores", "training_set"):
        counts = found[name].counts
        reasons = sum(number for reason, number in counts.items() if reason not in ("in", "kept"))
        assert counts["in"] == num_urls == counts["kept"] + reasons, name
    images = read_rows(first, found["images"], ["reason", "status", "opt_out_evidence", "licence"]).to_pylist()
    assert {row["reason"] for row in images} >= {
        None,
        "http_error",
        "timed_out",
        "truncated",
        "opted_out",
        "invalid_url",
    }
    assert all(row["opt_out_evidence"] and row["licence"] for row in images)
    assert {"duplicate_exact", "duplicate_perceptual"} & set(found["training_set"].counts)
    rows = read_rows(first, found["training_set"]).to_pylist()
    assert all(row["bucket"] in range(11) and row["image_part"] for row in rows if row["reason"] is None)


@pytest.mark.reliability(6)
@pytest.mark.parametrize(("kind", "workers", "rows_per_part"), [("folder", 1, 40), ("s3", 2, 8)])
def test_digests_do_not_depend_on_workers_parts_order_or_store(
    curate, first, request, shuffled_list, kind, workers, rows_per_part
):
    expected = {name: manifest.digest for name, manifest in curate(first).items()}
    other = request.getfixturevalue(f"{kind}_store")
    found = curate(other, workers=workers, rows_per_part=rows_per_part, path=shuffled_list)
    assert {name: manifest.digest for name, manifest in found.items()} == expected


def test_a_second_run_skips_and_a_changed_threshold_costs_no_pixel_work(run_in, curate, first):
    before = curate(first)
    again = run_in(first, "build_training_set")
    assert again.skipped and not again.changed
    stricter = run_in(first, "build_training_set", min_side_px=150)
    assert not stricter.skipped and stricter.changed
    assert stricter.manifest.inputs["scores"].key == before["scores"].key
    assert stricter.manifest.counts["side_too_short"] > 0
    back = run_in(first, "build_training_set")
    assert back.skipped and back.changed
    assert Versions(first).latest("training_set").key == before["training_set"].key


def test_too_many_failures_fail_the_job(run_in, folder_store, tmp_path):
    path = tmp_path / "list.txt"
    path.write_text("".join(f"http://127.0.0.1:9/{i}.png\n" for i in range(6)))
    run_in(folder_store, "register_url_list", path=str(path))
    with pytest.raises(JobError, match=r"100% of 6 URLs gave no picture \(accepted: 50%\): blocked_address 6"):
        run_in(folder_store, "download_images")
    assert Versions(folder_store).latest("images") is None


def test_without_its_block_list_nothing_is_downloaded(run_in, first):
    with pytest.raises(ValueError, match=r"blocked_sha256_file: .* cannot be read"):
        run_in(first, "download_images", blocked_sha256_file="/nowhere/list")


@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning"
)  # webdataset's
def test_a_training_set_leaves_the_store_with_its_pixels(curate, first, tmp_path):
    import webdataset

    from ray_jobs.export import export_version

    found = curate(first)["training_set"]
    export_version(first, "training_set", tmp_path / "tars", "webdataset")
    shards = [str(path) for path in sorted((tmp_path / "tars").glob("*.tar"))]
    dataset = webdataset.WebDataset(shards, shardshuffle=False, empty_check=False)
    samples = list(dataset)
    assert len(samples) == found.counts["kept"]
    assert all(any(len(sample.get(kind, b"")) > 100 for kind in ("png", "jpg", "webp")) for sample in samples)
    export_version(first, "training_set", tmp_path / "rows", "parquet")
    with pytest.raises(ValueError, match="is not empty"):
        export_version(first, "training_set", tmp_path / "rows", "parquet")
