import hashlib
import json

import numpy as np
import pytest
from PIL import Image, ImageOps, UnidentifiedImageError

from curation.sample.site import read_site_rows, write_site, write_url_list


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    write_site(folder, num_scenes=40, side_px=96, seed=5)
    return folder


@pytest.fixture(scope="module")
def rows(site):
    return {row.case: row for row in read_site_rows(site) if row.case != "plain"}


def _digests(folder):
    files = (file for file in folder.rglob("*") if file.is_file())
    return {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def _open(site, row):
    return Image.open(site / row.address.lstrip("/"))


def test_the_same_seed_writes_the_same_bytes_by_any_number_of_processes(site, tmp_path):
    write_site(tmp_path, num_scenes=40, side_px=96, seed=5, num_processes=2)
    assert _digests(tmp_path) == _digests(site)


def test_every_case_is_there(rows):
    assert set(rows) == {
        "truncated", "cut_off", "not_an_image", "exif_rotated", "cmyk", "transparent", "exact_duplicate",
        "near_duplicate", "opted_out", "redirected", "tiny", "extreme_aspect", "wrong_hash", "not_found",
        "never_answers", "server_error", "redirect_loop", "malformed_url", "foreign_scheme",
    }  # fmt: skip


def test_plain_rows_open_and_true_hashes_hold(site):
    plain = [row for row in read_site_rows(site) if row.case == "plain"]
    assert len(plain) > 80
    assert any(row.sha256 for row in plain)
    for row in plain:
        body = (site / row.address.lstrip("/")).read_bytes()
        assert row.sha256 in (None, hashlib.sha256(body).hexdigest())
        assert row.captions_en
        assert row.captions_zh
        with _open(site, row) as image:
            image.load()


def test_broken_files_do_not_open(site, rows):
    with _open(site, rows["truncated"]) as image, pytest.raises(OSError, match="truncated"):
        image.load()
    with pytest.raises(UnidentifiedImageError):
        _open(site, rows["not_an_image"])


def test_the_rotated_picture_is_right_after_transposing(site, rows):
    with _open(site, rows["exif_rotated"]) as turned, _open(site, rows["cmyk"]) as upright:
        assert turned.getexif()[0x0112] == 6
        stored = np.asarray(turned.convert("RGB"), float)
        transposed = np.asarray(ImageOps.exif_transpose(turned).convert("RGB"), float)
        wanted = np.asarray(upright.convert("RGB"), float)
    assert np.abs(transposed - wanted).mean() < 12 < np.abs(stored - wanted).mean()


def test_unusual_pictures_are_what_they_claim(site, rows):
    with _open(site, rows["cmyk"]) as image:
        assert image.mode == "CMYK"
    with _open(site, rows["transparent"]) as image:
        assert image.mode == "RGBA"
        assert image.getextrema()[3][0] < 16
    with _open(site, rows["tiny"]) as image:
        assert max(image.size) < 16
    with _open(site, rows["extreme_aspect"]) as image:
        assert image.width / image.height > 10


def test_duplicates_repeat_an_earlier_picture(site, rows):
    plain = [row for row in read_site_rows(site) if row.case == "plain"]
    exact = (site / rows["exact_duplicate"].address.lstrip("/")).read_bytes()
    assert exact == (site / plain[0].address.lstrip("/")).read_bytes()
    with _open(site, rows["near_duplicate"]) as near, _open(site, plain[1]) as original:
        gap = np.abs(np.asarray(near.convert("RGB"), float) - np.asarray(original.convert("RGB"), float)).mean()
    assert 0 < gap < 12


def test_the_url_list_is_absolute_json_lines(site, tmp_path):
    rows = read_site_rows(site)
    path = tmp_path / "urls.jsonl"
    assert write_url_list(rows, "http://127.0.0.1:9/", path) == len(rows)
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert [set(line) for line in lines] == [{"url", "captions_en", "captions_zh", "licence", "sha256"}] * len(rows)
    assert lines[0]["url"].startswith("http://127.0.0.1:9/scenes/")
    assert "file:///etc/hostname" in {line["url"] for line in lines}


def test_too_few_scenes_are_refused(tmp_path):
    with pytest.raises(ValueError, match="num_scenes"):
        write_site(tmp_path, num_scenes=3)
