"""Fusions over HTTP: what members are told, how images come in, and what is refused."""

import base64
import io
import json
import uuid

import numpy as np
import pytest
from PIL import Image

from curation.fetch_guard import FetchSettings
from pangu.provenance import read_origin
from ray_jobs.service.condition_images import ImageReader
from ray_jobs.service.work_queue import Limits
from tests.curation.test_fetch_guard import HOSTILE
from tests.ray_jobs.service.http_client import ask, events_of, pixels
from tests.ray_jobs.service.local_serving import door_settings, serving
from tests.ray_jobs.service.stub_engine import StubLoader
from tests.ray_jobs.service.stub_fusion import StubFusionLoader, mean_colour

RED = {"name": "painter", "prompt": "red"}
BLUE = {"name": "painter", "prompt": "蓝色的墙", "language": "zh"}


def png(colour):
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), colour).save(buffer, "PNG")
    return buffer.getvalue()


def green_tracer(said):
    return {"name": "tracer", "condition_images": [said]}


@pytest.fixture(scope="module")
def canary(tmp_path_factory):
    """A listener on loopback that counts whoever comes; the one address that the test may fetch from is another's."""
    import http.server
    import threading

    hits = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            hits.append(self.path)
            self.send_response(200)
            self.send_header("Content-Type", "image/png")
            self.end_headers()
            self.wfile.write(png("lime"))

        def log_message(self, *_):
            """Says nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port, hits
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    import dataclasses

    alias = tmp_path_factory.mktemp("stub") / "alias"
    alias.write_text("one")
    quick = ImageReader(FetchSettings(timeout_s=3.0, max_bytes=10_000, max_redirects=3))
    settings = dataclasses.replace(door_settings(), images=quick)
    with serving(StubLoader(alias), Limits(), settings, fusion_loader=StubFusionLoader()) as running:
        yield running


@pytest.fixture(scope="module")
def port(service):
    return service.port


def fuse(port, *members, **fields):
    body = {"members": list(members), "steps": 4, "seed": 1, **fields}
    return ask(port, "POST", "/v1/fusions", body)


def colour_of(answer):
    return mean_colour(pixels(answer["data"][0]))


def test_members_are_listed_with_what_they_need(port):
    status, _, answer = ask(port, "GET", "/v1/members")
    assert status == 200
    assert [(m["name"], m["conditions"], m["size"], m["detects"]) for m in answer["data"]] == [
        ("painter", 0, "32x32", False),
        ("tracer", 1, "32x32", True),
    ]
    assert ask(port, "GET", "/v1/members", key=None)[0] == 401


def test_weights_over_time_decide_whose_picture_it_becomes(port):
    always = [[0, 0.5], [1000, 0.5]]
    red, half, blue = (
        colour_of(fuse(port, RED, {**BLUE, "weight": weight})[2]) for weight in ([[0, 0.0]], always, [[0, 1.0]])
    )
    assert np.abs(red - (255, 0, 0)).max() < 2 and np.abs(blue - (0, 0, 255)).max() < 2
    assert np.abs(half - (127, 0, 127)).max() < 3
    faded = colour_of(fuse(port, RED, {**BLUE, "weight": 0.5})[2])
    assert np.abs(faded - red).max() < 40, "a number fades to nothing before the end"


def test_a_fusion_is_marked_and_sized_and_may_be_several(port):
    _, _, answer = fuse(port, RED, BLUE, n=2, size="64x48")
    assert (answer["model"], answer["size"], len(answer["data"])) == ("fusion@stub", "64x48", 2)
    file = base64.b64decode(answer["data"][1]["b64_json"])
    assert pixels(file).shape == (48, 64, 3) and read_origin(file).version == "fusion@stub"


def test_a_condition_image_comes_as_data_as_base64_or_as_a_file(port):
    text = base64.b64encode(png("lime")).decode()
    for said in (text, f"data:image/png;base64,{text}"):
        status, _, answer = fuse(port, green_tracer(said))
        assert status == 200 and np.abs(colour_of(answer) - (0, 255, 0)).max() < 2
    boundary = uuid.uuid4().hex
    order = json.dumps({"members": [green_tracer("upload:drawing")], "steps": 2})
    body = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="request"\r\n\r\n{order}\r\n'
        f'--{boundary}\r\nContent-Disposition: form-data; name="drawing"; filename="d.png"\r\n\r\n'
    ).encode()
    body += png("lime") + f"\r\n--{boundary}--\r\n".encode()
    kind = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    status, _, answer = ask(port, "POST", "/v1/fusions", body, headers=kind)
    assert status == 200 and np.abs(colour_of(answer) - (0, 255, 0)).max() < 2
    for broken in (body[:40], body.replace(b"request", b"another"), b""):
        assert ask(port, "POST", "/v1/fusions", broken, headers=kind)[0] == 400


def test_a_picture_can_be_turned_into_what_the_member_follows(port):
    text = base64.b64encode(png("lime")).decode()
    status, _, answer = fuse(port, {**green_tracer(text), "detect": True})
    assert status == 200 and colour_of(answer).max() < 2, "a picture of one colour has no edges"


@pytest.mark.parametrize(
    ("members", "sentence"),
    [
        ([], "members"),
        ([{**RED, "detect": True}], "members[0].detect: got true, expected false"),
        ([{"name": "nobody"}], "members[0].name: got 'nobody', expected one of ['painter', 'tracer']"),
        ([{**RED, "weight": 0.5}], "members.0.weight: accepted is none"),
        ([RED, {**BLUE, "weight": 2}], "weight"),
        ([RED, {**BLUE, "weight": [[500, 0.1], [200, 0.1]]}], "descend"),
        ([RED, *[{**BLUE, "weight": [[0, 0.9]]}] * 2], "weights"),
        ([{**RED, "language": "zh"}], "language: 'zh' is asked for, the prompt of 'painter' is in 'en'"),
        ([{"name": "tracer"}], "condition_images: got 0, expected 1"),
        ([green_tracer("not base64!")], "neither base64 nor a URL"),
        ([green_tracer("aGVsbG8=")], "no picture that is accepted"),
        ([green_tracer("data:text/html,<b>")], "accepted of data: URLs"),
        ([green_tracer("upload:other")], "no file 'other' came"),
    ],
)
def test_what_cannot_be_fused_is_refused(port, members, sentence):
    status, _, answer = fuse(port, *members)
    assert status == 400 and sentence in answer["error"]["message"], answer


def test_a_size_no_member_can_is_refused(port):
    for size in ("512x512", "12", "8x8", "axb"):
        assert fuse(port, RED, size=size)[0] == 400


def test_a_fusion_is_a_job_with_previews_too(port):
    job = fuse(port, RED, BLUE, partial_images=1, n=2, **{"async": True})[2]
    events = events_of(ask(port, "GET", job["events_url"])[2])
    steps = [data for _, name, data in events if name == "step"]
    assert [(data["step"], data["steps"]) for data in steps] == [(n, 8) for n in range(1, 9)]
    assert [data["step"] for data in steps if "previews" in data] == [2, 6]
    assert pixels(ask(port, "GET", events[-1][2]["result"]["data"][1]["url"])[2]).shape == (32, 32, 3)


def test_nobody_fuses_where_there_are_no_members(local_service):
    status, _, answer = fuse(local_service.port, RED)
    assert status == 404 and "PANGU_SERVE_MEMBERS" in answer["error"]["message"]


@pytest.mark.reliability(19)
def test_no_hostile_url_of_an_image_reaches_the_canary(port, canary):
    canary_port, hits = canary
    forms = sorted({form.replace("{p}", str(canary_port)) for form in HOSTILE} - {""})
    assert len(forms) >= 60
    for form in forms:
        status, _, answer = fuse(port, green_tracer(form))
        assert status == 400, (form, answer)
        assert "canary" not in json.dumps(answer) and "127.0.0.1" not in answer["error"]["message"]
    assert hits == []


@pytest.mark.reliability(19)
def test_an_image_is_fetched_where_it_is_allowed(tmp_path, canary):
    import dataclasses

    (tmp_path / "alias").write_text("one")
    allowed = FetchSettings(allowed_hosts=frozenset({f"127.0.0.1:{canary[0]}"}))
    settings = dataclasses.replace(door_settings(), images=ImageReader(allowed))
    loaders = {"fusion_loader": StubFusionLoader()}
    with serving(StubLoader(tmp_path / "alias"), Limits(), settings, **loaders) as running:
        status, _, answer = fuse(running.port, green_tracer(f"http://127.0.0.1:{canary[0]}/a.png"))
        assert status == 200 and np.abs(colour_of(answer) - (0, 255, 0)).max() < 2
        assert canary[1] == ["/a.png"]
        canary[1].clear()


def test_a_body_is_read_no_further_than_it_may_be(port):
    assert fuse(port, {**RED, "prompt": "x" * 100}, user="y" * (33 * 2**20))[0] == 413
