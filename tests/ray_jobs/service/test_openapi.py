"""Requests made from the service's own description, good ones and bad ones: none is answered with a 5xx."""

import json

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from ray_jobs.service.work_queue import Limits
from tests.ray_jobs.service.http_client import KEY, ask
from tests.ray_jobs.service.local_serving import door_settings, serving
from tests.ray_jobs.service.stub_engine import StubLoader

EXAMPLES = 25
"""Of each operation."""


@pytest.fixture(scope="module")
def local_service(tmp_path_factory):
    """Steps that take no time, so that an order of a hundred of them is quick too."""
    alias = tmp_path_factory.mktemp("stub") / "alias"
    alias.write_text("one")
    with serving(StubLoader(alias, step_s=0.0), Limits(), door_settings()) as service:
        yield service


@pytest.fixture(scope="module")
def description(local_service):
    return ask(local_service.port, "GET", "/openapi.json", key=None)[2]


def call_often(port, operation, max_examples):
    """The statuses of so many calls of an operation, half of them as its schema allows."""
    modes = [operation.as_strategy(generation_mode=mode) for mode in schemathesis.GenerationMode]
    statuses = []

    @given(case=st.one_of(modes))
    @settings(
        max_examples=max_examples, deadline=None, derandomize=True, database=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    def call(case):
        headers = {**dict(case.headers or {}), "Authorization": f"Bearer {KEY}"}
        response = case.call(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=60)
        statuses.append(response.status_code)
        assert response.status_code < 500, (operation.label, case.body, response.text)

    call()
    return statuses


def test_no_request_is_answered_with_a_server_error(local_service, description):
    schema = schemathesis.openapi.from_dict(description)
    operations = [found.ok() for found in schema.get_all_operations()]
    answered = {each.label: call_often(local_service.port, each, EXAMPLES) for each in operations}
    assert set(answered) >= {"POST /v1/images/generations", "GET /v1/jobs/{name}/events", "DELETE /v1/jobs/{name}"}
    orders = answered["POST /v1/images/generations"]
    assert {200, 400} <= set(orders), "both good and bad orders were made"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"{",
        b"\xff\xfe",
        b'{"prompt": "\\ud800"}',
        b'{"prompt": "x", "seed": 1e400}',
        b"[" * 50_000,
    ],
)
def test_bodies_that_no_schema_would_make(local_service, body):
    status, _, answer = ask(local_service.port, "POST", "/v1/images/generations", body)
    assert status == 400 and answer["error"]["message"], json.dumps(answer)
