"""The service over HTTP, its engine without networks."""

import base64
import json
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from pangu.provenance import read_origin
from tests.ray_jobs.service.http_client import KEY, OTHER_KEY, ask, draw, events_of, pixels


@pytest.fixture(scope="module")
def port(local_service):
    return local_service.port


def wait_for(port, name, key=KEY):
    """The job once it has ended."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        job = ask(port, "GET", f"/v1/jobs/{name}", key=key)[2]
        if job["status"] not in ("queued", "running"):
            return job
        time.sleep(0.05)
    raise AssertionError(f"{name} has not ended")


def test_health_and_the_page_need_no_key(port):
    assert ask(port, "GET", "/health", key=None)[::2] == (200, {"status": "ok", "model": "experts@one"})
    status, headers, _ = ask(port, "GET", "/page/style.css", key=None)
    assert status == 200 and "script-src 'self'" in headers["Content-Security-Policy"]
    assert ask(port, "GET", "/page/..%2Fdoor.py", key=None)[0] == 404


def test_models_are_listed_by_every_name_they_have(port):
    _, _, answer = ask(port, "GET", "/v1/models")
    assert [model["id"] for model in answer["data"]] == ["experts", "experts@champion", "experts@one"]
    assert answer["data"][0]["sizes"] == ["64x64", "128x32"] and answer["data"][0]["object"] == "model"
    assert ask(port, "GET", "/v1/models/experts@one")[2]["root"] == "experts@one"
    status, _, answer = ask(port, "GET", "/v1/models/dall-e-3")
    assert (status, answer["error"]["code"]) == (404, "model_not_found")


def test_pictures_carry_their_seeds_formats_and_marks(port):
    for output_format, magic in (("png", b"\x89PNG"), ("jpeg", b"\xff\xd8"), ("webp", b"RIFF")):
        status, _, answer = draw(port, n=2, output_format=output_format)
        assert status == 200
        assert [entry["seed"] for entry in answer["data"]] == [7, 8]
        assert (answer["model"], answer["size"], answer["output_format"]) == ("experts@one", "64x64", output_format)
        file = base64.b64decode(answer["data"][0]["b64_json"])
        assert file.startswith(magic) and read_origin(file).version == "digest-of-one"


@pytest.mark.parametrize(
    ("fields", "status", "param"),
    [
        ({"n": 5}, 400, "n"), ({"size": "1x1"}, 400, "size"), ({"model": "dall-e-2"}, 404, "model"),
        ({"styles": {"baroque": 2}}, 400, "styles"), ({"colour": "red"}, 400, "colour"),
        ({"stream": True, "async": True}, 400, "stream"),
        ({"prompt": "x" * 70_000}, 413, None), ({"timeout_s": 0.01, "steps": 50}, 408, "timeout_s"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_in_openai_s_words(port, fields, status, param):
    answered, _, answer = draw(port, **fields)
    assert (answered, answer["error"]["param"]) == (status, param)
    assert answer["error"]["type"] == "invalid_request_error"


def test_a_deadline_in_a_header_counts_too(port):
    assert draw(port, steps=100, headers={"X-Request-Timeout-S": "0.2"})[0] == 408
    assert draw(port, headers={"X-Request-Timeout-S": "soon"})[0] == 400


def test_an_unknown_path_or_method_is_answered_in_the_same_shape(port):
    assert ask(port, "GET", "/v1/nothing")[2]["error"]["type"] == "invalid_request_error"
    assert ask(port, "PUT", "/v1/jobs")[0] == 405


def test_an_asynchronous_order_tells_of_its_steps_and_keeps_its_pictures(port):
    status, headers, job = draw(port, steps=6, n=2, partial_images=2, **{"async": True})
    assert status == 202 and headers["Location"] == f"/v1/jobs/{job['id']}" and job["status"] in ("queued", "running")
    _, headers, text = ask(port, "GET", job["events_url"])
    assert headers["content-type"].startswith("text/event-stream")
    events = events_of(text)
    assert [name for _, name, _ in events] == ["started", *["step"] * 6, "succeeded"]
    assert [int(number) for number, _, _ in events] == list(range(1, 9))
    assert [data["step"] for _, name, data in events if name == "step" and "previews" in data] == [2, 4]
    done = events[-1][2]
    assert done == ask(port, "GET", f"/v1/jobs/{job['id']}")[2]
    status, headers, file = ask(port, "GET", done["result"]["data"][1]["url"])
    assert status == 200 and headers["content-type"] == "image/png" and pixels(file)[0, 0, 1] == 8
    _, _, rest = ask(port, "GET", job["events_url"], headers={"Last-Event-ID": "6"})
    assert events_of(rest) == events[6:]


def test_pictures_may_come_as_urls(port):
    _, _, answer = draw(port, response_format="url", seed=90)
    assert pixels(ask(port, "GET", answer["data"][0]["url"])[2])[0, 0, 1] == 90


def test_a_stream_speaks_openai_s_events(port):
    _, headers, text = draw(port, steps=4, stream=True, partial_images=1)
    assert headers["content-type"].startswith("text/event-stream")
    events = events_of(text)
    assert [name for _, name, _ in events] == ["image_generation.partial_image", "image_generation.completed", None]
    assert events[0][2]["partial_image_index"] == 0 and np.array_equal(pixels(events[1][2])[0, 0], (3, 7, 0))


def test_a_cancelled_job_stops_and_says_so(local_service):
    port = local_service.port
    _, _, job = draw(port, steps=100, **{"async": True})
    status, _, cancelled = ask(port, "DELETE", f"/v1/jobs/{job['id']}")
    assert (status, cancelled["status"], cancelled["error"]["code"]) == (200, "cancelled", "cancelled")
    assert wait_for(port, job["id"])["status"] == "cancelled"
    assert draw(port)[0] == 200
    assert local_service.model.queue.tally.late_steps == 0


@pytest.mark.reliability(23)
def test_a_tenant_sees_nothing_of_another_s(port):
    _, _, job = draw(port, n=1, **{"async": True})
    done = wait_for(port, job["id"])
    paths = [f"/v1/jobs/{job['id']}", job["events_url"], done["result"]["data"][0]["url"]]
    for path in paths:
        assert ask(port, "GET", path)[0] == 200
        assert ask(port, "GET", path, key=OTHER_KEY)[0] == 404
        assert ask(port, "GET", path, key="a-key-that-is-not-known")[0] == 401
        assert ask(port, "GET", path, key=None)[0] == 401
    assert ask(port, "DELETE", paths[0], key=OTHER_KEY)[0] == 404
    assert job["id"] not in json.dumps(ask(port, "GET", "/v1/jobs", key=OTHER_KEY)[2])
    assert job["id"] in json.dumps(ask(port, "GET", "/v1/jobs")[2])


@pytest.mark.reliability(23)
def test_no_key_is_written_anywhere_that_is_answered(port):
    for path in ("/health", "/v1/models", "/v1/jobs", "/openapi.json", "/", "/v1/jobs/x"):
        assert KEY not in json.dumps(ask(port, "GET", path)[2])


@pytest.mark.reliability(17)
@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://example.com"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_pages_of_other_sites_are_refused_even_with_a_key(port, headers):
    assert draw(port, headers=headers)[0] == 403
    assert ask(port, "DELETE", "/v1/jobs/x", headers=headers)[0] == 403
    assert ask(port, "DELETE", "/v1/jobs/x", headers={"Origin": f"http://127.0.0.1:{port}"})[0] == 404


def test_an_overload_is_refused_at_once_and_the_admitted_are_served(port):
    with ThreadPoolExecutor(40) as pool:
        keys = [KEY, OTHER_KEY]
        answers = list(pool.map(lambda n: draw(port, seed=n, steps=10, key=keys[n % 2]), range(40)))
    statuses = [status for status, _, _ in answers]
    assert set(statuses) <= {200, 429, 503} and statuses.count(200) >= 8 and len(set(statuses)) > 1
    for status, headers, answer in answers:
        if status != 200:
            assert int(headers["Retry-After"]) > 0 and answer["error"]["message"]


def test_a_description_with_examples_is_served(port):
    _, _, described = ask(port, "GET", "/openapi.json", key=None)
    operation = described["paths"]["/v1/images/generations"]["post"]
    content = operation["requestBody"]["content"]["application/json"]
    assert content["schema"]["properties"]["steps"]["maximum"] == 100 and "$ref" not in json.dumps(content)
    for example in content["examples"].values():
        assert ask(port, "POST", "/v1/images/generations", {**example["value"], "steps": 2})[0] in (200, 202)
    assert {"200", "400", "401", "429", "503"} <= set(operation["responses"])
