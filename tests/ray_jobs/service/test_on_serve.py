"""The application on a real local Serve: what only Serve can show."""

import http.client
import json
import time

import pytest

from tests.ray_jobs.service.http_client import KEY, ask, draw, events_of

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module")
def service(run_stub):
    return run_stub(step_s=0.05)


def test_it_draws_streams_and_keeps_jobs(service):
    port = service.port
    status, headers, answer = draw(port, headers={"X-Request-ID": "mine-123"})
    assert (status, headers["x-request-id"], answer["model"]) == (200, "mine-123", "experts@one")
    assert [name for _, name, _ in events_of(draw(port, stream=True)[2])] == ["image_generation.completed", None]
    job = draw(port, **{"async": True})[2]
    assert events_of(ask(port, "GET", job["events_url"])[2])[-1][1] == "succeeded"
    assert ask(port, "GET", "/health", key=None)[0] == 200


@pytest.mark.reliability(16)
def test_the_steps_of_a_client_that_went_end(service):
    before = service.state()
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=30)
    body = json.dumps({"prompt": "x", "steps": 100})
    connection.request("POST", "/v1/images/generations", body, {"Authorization": f"Bearer {KEY}"})
    deadline = time.monotonic() + 30
    while service.state()["steps"] == before["steps"]:
        assert time.monotonic() < deadline
    connection.close()
    while service.state()["let_go"] == before["let_go"]:
        assert time.monotonic() < deadline
    assert draw(service.port, steps=1)[0] == 200  # the same thread: its slot is free again
    after = service.state()
    assert after["late_steps"] == 0 and after["steps"] - before["steps"] < 100


def test_a_promoted_version_takes_over(service):
    service.alias.write_text("second")
    deadline = time.monotonic() + 60
    while draw(service.port)[2]["model"] != "experts@second":
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert ask(service.port, "GET", "/health", key=None)[2]["model"] in ("experts@one", "experts@second")
