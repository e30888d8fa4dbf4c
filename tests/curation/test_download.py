import io
import json
import time

import numpy as np
import pytest
from PIL import Image

from curation.buckets import FULL_BUCKETS, SAMPLE_BUCKETS
from curation.download import NOT_FETCHED, DownloadSettings, download_part
from curation.fetch_guard import FetchSettings
from curation.fingerprint import sha256_hex
from curation.records import IMAGES
from curation.url_list import make_url_list


@pytest.fixture
def settings(site) -> DownloadSettings:
    fetch = FetchSettings(timeout_s=3.0, allowed_hosts=frozenset({site.host_port}))
    return DownloadSettings(fetch=fetch, threads=4, retries=2, backoff_s=0.01, buckets=SAMPLE_BUCKETS)


def download_one(url: str, settings: DownloadSettings, **extra: object) -> dict:
    table = download_part(make_url_list([{"url": url, **extra}]), settings)
    assert table.schema == IMAGES
    (row,) = table.to_pylist()
    return row


def test_picture_that_needs_no_change_keeps_its_bytes(site, settings, make_picture, encode) -> None:
    for name, path in (("JPEG", "a.jpg"), ("PNG", "a.png"), ("WEBP", "a.webp")):
        data = encode(make_picture(0, (64, 60)), name)
        row = download_one(site.serve(f"/{path}", data), settings, caption="a", licence="CC0")
        assert (row["status"], row["reason"], row["image"]["bytes"]) == ("success", None, data)
        assert row["sha256"] == row["stored_sha256"] == sha256_hex(data)
        assert row["image"]["path"] == f"{row['key']}.{path[2:]}"
        assert (row["width"], row["height"], row["licence"], row["captions_en"]) == (64, 60, "CC0", ["a"])


@pytest.mark.parametrize("encode_format", ["jpg", "png", "webp"])
def test_large_picture_is_shrunk_to_cover_its_bucket(site, settings, make_picture, encode, encode_format) -> None:
    url = site.serve("/a.png", encode(make_picture(0, (400, 300))))
    row = download_one(url, settings.model_copy(update={"encode_format": encode_format}))
    assert (row["original_width"], row["original_height"]) == (400, 300)
    assert (row["width"], row["height"]) == (75, 56)  # bucket 4 is 56x72
    image = Image.open(io.BytesIO(row["image"]["bytes"]))
    assert (image.size, image.format) == ((75, 56), {"jpg": "JPEG", "png": "PNG", "webp": "WEBP"}[encode_format])
    assert row["stored_sha256"] != row["sha256"]


def test_small_picture_is_not_enlarged(site, settings, make_picture, encode) -> None:
    url = site.serve("/a.png", encode(make_picture(0, (400, 300))))
    row = download_one(url, settings.model_copy(update={"buckets": FULL_BUCKETS}))
    assert (row["width"], row["height"]) == (400, 300)


def test_stored_picture_is_upright(site, settings, encode) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010F] = "Maker"
    left_red = np.zeros((40, 60, 3), np.uint8)
    left_red[:, :30, 0] = 255
    row = download_one(site.serve("/a.jpg", encode(Image.fromarray(left_red), "JPEG", exif=exif)), settings)
    stored = Image.open(io.BytesIO(row["image"]["bytes"]))
    assert stored.size == (row["width"], row["height"]) == (40, 60)
    assert stored.getexif().get(0x0112, 1) == 1
    assert stored.getpixel((20, 5))[0] > 200 > stored.getpixel((20, 55))[0]
    assert json.loads(row["exif"])["Make"] == "Maker"


@pytest.mark.reliability(21)
def test_provenance_is_in_every_row(site, settings, make_picture, encode) -> None:
    data = encode(make_picture(0))
    kept = download_one(site.serve("/a.png", data, headers=[("X-Robots-Tag", "nofollow")]), settings)
    assert json.loads(kept["opt_out_evidence"]) == {"x-robots-tag": ["nofollow"]}
    assert kept["fetched_at"] is not None
    assert kept["licence"] == "unknown"
    header = [("X-Robots-Tag", "unavailable_after: 25 Jun 2030 15:00:00 PST, noai")]
    reserved = download_one(site.serve("/b.png", data, headers=header), settings)
    assert (reserved["status"], reserved["reason"], reserved["image"]) == ("rejected", "opted_out", None)
    assert reserved["sha256"] is None  # its body was not even read
    assert download_one("http://10.0.0.1/a.png", settings)["opt_out_evidence"] == NOT_FETCHED
    mismatch = download_one(site.url("/a.png"), settings, sha256="0" * 64)
    assert (mismatch["status"], mismatch["reason"], mismatch["image"]) == ("rejected", "hash_mismatch", None)


@pytest.mark.reliability(22)
def test_hash_listed_picture_is_never_stored(site, settings, make_picture, encode, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    written = []
    real_open = Image.open
    monkeypatch.setattr(Image, "open", lambda *args, **kwargs: written.append(args) or real_open(*args, **kwargs))
    data = encode(make_picture(0))
    rows = make_url_list([{"url": site.serve("/bad.png", data)}])
    (row,) = download_part(rows, settings, blocked_sha256={sha256_hex(data)}).to_pylist()
    assert (row["status"], row["reason"], row["image"]) == ("rejected", "hash_listed", None)
    assert written == []  # not even decoded
    assert list(tmp_path.iterdir()) == []


def test_busy_server_is_asked_again_and_a_missing_page_is_not(site, settings, make_picture, encode) -> None:
    url = site.serve("/busy.png", encode(make_picture(0)), fail_first=2)
    assert download_one(url, settings)["status"] == "success"
    assert site.hits.count("/busy.png") == 3
    missing = download_one(site.url("/missing.png"), settings)
    assert (missing["status"], missing["reason"]) == ("failed_to_download", "http_error")
    assert site.hits.count("/missing.png") == 1


def test_slow_hosts_do_not_hold_the_others(site, settings, make_picture, encode) -> None:
    data = encode(make_picture(0))
    urls = [site.serve(f"/slow{n}", b"x" * 500, drip_s=0.05) for n in range(3)]
    urls += [site.serve(f"/{n}.png", data) for n in range(30)]
    fetch = settings.fetch.model_copy(update={"timeout_s": 0.5})
    started = time.monotonic()
    table = download_part(
        make_url_list([{"url": url} for url in urls]), settings.model_copy(update={"fetch": fetch, "retries": 0})
    )
    assert time.monotonic() - started < 8.0
    reasons = table["reason"].to_pylist()
    assert (len(reasons), reasons.count("timed_out"), reasons.count(None)) == (33, 3, 30)


def test_row_that_left_before_is_not_fetched(site, settings) -> None:
    row = download_one("ftp://a.test/x", settings)
    assert (row["status"], row["reason"], row["opt_out_evidence"]) == ("rejected", "invalid_url", NOT_FETCHED)
    assert download_part(make_url_list([]), settings).num_rows == 0


@pytest.mark.reliability(7)
def test_a_failure_of_our_own_costs_one_row(site, settings, make_picture, encode, monkeypatch) -> None:
    """The loop would end the whole shard on an exception in a thread, and drop the row on one in the resizer."""
    data = encode(make_picture(0))
    rows = make_url_list([{"url": site.serve(f"/{n}.png", data)} for n in range(5)])
    from curation import download

    real_fetch, real_decode = download.fetch, download.decode_picture
    monkeypatch.setattr(download, "fetch", lambda url, *a, **k: 1 / 0 if "/1." in url else real_fetch(url, *a, **k))
    calls = []

    def decode_once_wrong(*args):
        calls.append(args)
        if len(calls) == 2:
            raise RuntimeError("planted")
        return real_decode(*args)

    monkeypatch.setattr(download, "decode_picture", decode_once_wrong)
    reasons = sorted(str(reason) for reason in download_part(rows, settings)["reason"].to_pylist())
    assert reasons == ["None", "None", "None", "connection_failed", "undecodable"]
