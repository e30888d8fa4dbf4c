"""Other models' pictures of a prompt list: found by column or id, kept as given, refused with a reason."""

import io
import json

import numpy as np
import pytest
from PIL import Image

from ray_jobs import register_pictures, register_prompts
from ray_jobs.errors import JobError
from ray_jobs.job import JobContext, plan_job
from ray_jobs.parts import read_rows
from ray_jobs.progress import Progress
from ray_jobs.store import Store


def picture(seed, file_format):
    pixels = np.random.default_rng(seed).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, file_format)
    return stream.getvalue()


def run(module, store, job, settings):
    plan = plan_job(job, settings, {}, store)
    return module.run(JobContext(plan, store, plan.config, Progress(job)))


@pytest.fixture
def listed(tmp_path):
    """A store with a list of five prompts, and a folder with what two models made of them."""
    folder = tmp_path / "list"
    (folder / "theirs").mkdir(parents=True)
    for index, file_format in enumerate(("PNG", "JPEG", "WEBP", "BMP")):
        (folder / "theirs" / f"{index}.{file_format.lower()}").write_bytes(picture(index, file_format))
    (folder / "p0.png").write_bytes(picture(9, "PNG"))
    (tmp_path / "secret.png").write_bytes(picture(10, "PNG"))
    (folder / "theirs" / "broken.png").write_bytes(b"\x89PNG no")
    paths = ["theirs/0.png", "theirs/1.jpeg", "theirs/2.webp", "../secret.png", "theirs/broken.png", "theirs/3.bmp"]
    rows = [{"prompt_id": f"p{n}", "prompt": f"球 {n}", "theirs": path} for n, path in enumerate(paths)]
    rows.append({"prompt_id": "p6", "prompt": "no file", "theirs": ""})
    path = folder / "list.jsonl"
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    store = Store(str(tmp_path / "store"))
    run(register_prompts, store, "register_prompts", {"path": str(path), "rows_per_part": 3})
    return store, folder


def test_a_column_of_paths_becomes_rows_like_our_own(listed):
    store, folder = listed
    made = run(register_pictures, store, "register_pictures", {"model": "theirs"})
    rows = {row["prompt_id"]: row for row in read_rows(store, made).to_pylist()}
    assert made.artifact == "generated_images" and made.config["model"] == "theirs"
    refused = {name: row["reason"] for name, row in rows.items() if row["reason"]}
    assert refused == {"p3": "picture_outside_folder", "p4": "unknown_format", "p6": "no_picture"}
    assert rows["p4"]["image"] is None and rows["p5"]["image"]["bytes"].startswith(b"\x89PNG"), "a BMP is stored as PNG"
    assert rows["p1"]["image"]["bytes"] == (folder / "theirs" / "1.jpeg").read_bytes(), "kept as it was given"
    assert (rows["p0"]["width"], rows["p0"]["height"]) == (32, 24) and len(rows["p0"]["image_sha256"]) == 64
    assert made.counts["in"] == 7 and made.counts["kept"] == 4


def test_a_folder_is_searched_by_prompt_id_and_its_content_decides_the_key(listed):
    store, folder = listed
    settings = {"model": "unlisted", "folder": str(folder), "max_failed_share": 1.0}
    made = run(register_pictures, store, "register_pictures", settings)
    kept = [row["prompt_id"] for row in read_rows(store, made).to_pylist() if row["reason"] is None]
    assert kept == ["p0"]
    (folder / "p1.png").write_bytes(picture(11, "PNG"))
    assert plan_job("register_pictures", settings, {}, store).key != made.key


def test_a_misspelt_column_is_no_version(listed):
    store, _ = listed
    with pytest.raises(JobError, match="have no picture by 'their'"):
        run(register_pictures, store, "register_pictures", {"model": "their"})


def test_a_list_that_stands_nowhere_needs_a_folder(tmp_path):
    store = Store(str(tmp_path / "store"))
    run(register_prompts, store, "register_prompts", {"num_prompts": 2})
    with pytest.raises(ValueError, match=r"register_pictures\.folder = 'nowhere'"):
        run(register_pictures, store, "register_pictures", {"model": "m", "folder": "nowhere"})
