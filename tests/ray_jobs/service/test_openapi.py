"""Requests made from the service's own description, good ones and bad ones: none is answered with a 5xx."""

import base64
import json

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from ray_jobs.service.work_queue import Limits
from tests.ray_jobs.service.http_client import KEY, ask
from tests.ray_jobs.service.local_serving import door_settings, serving
from tests.ray_jobs.service.stub_engine import StubLoader
from tests.ray_jobs.service.stub_fusion import StubFusionLoader
from tests.ray_jobs.service.test_fusions import png

EXAMPLES = 25
"""Of each operation."""
PICTURE = base64.b64encode(png("lime")).decode()


@pytest.fixture(scope="module")
def local_service(tmp_path_factory):
    """Steps that take no time, so that an order of a hundred of them is quick too."""
    alias = tmp_path_factory.mktemp("stub") / "alias"
    alias.write_text("one")
    fusion_loader = StubFusionLoader()
    with serving(StubLoader(alias, step_s=0.0), Limits(), door_settings(), fusion_loader=fusion_loader) as service:
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
    assert 400 in answered["POST /v1/fusions"] and 404 not in answered["POST /v1/fusions"], "members are served"
    orders = answered["POST /v1/images/generations"]
    assert {200, 400} <= set(orders), "both good and bad orders were made"


POINTS = st.lists(st.tuples(st.floats(-1, 1100), st.floats(-0.1, 1.2)), max_size=4)
MEMBERS = st.fixed_dictionaries(
    {"name": st.sampled_from(["painter", "tracer", "nobody"])},
    optional={
        "prompt": st.text(max_size=30),
        "language": st.sampled_from(["en", "zh", None]),
        "guidance": st.floats(allow_nan=False),
        "weight": st.none() | st.floats(0, 1) | POINTS,
        "condition_images": st.lists(
            st.sampled_from([PICTURE, "aGVsbG8=", "upload:none", "file:///etc/passwd"]), max_size=2
        ),
        "condition_scales": st.lists(st.floats(0, 10), max_size=2),
        "detect": st.booleans(),
    },
)


def test_no_order_of_members_that_are_served_is_answered_with_a_server_error(local_service):
    """The names in a made-up request of the description are any text; here most are of members that there are."""
    statuses = []

    @settings(
        max_examples=150, deadline=None, derandomize=True, database=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(
        members=st.lists(MEMBERS, min_size=1, max_size=3), size=st.sampled_from(["auto", "32x32", "16x64", "9999x1"])
    )
    def order(members, size):
        body = {"members": members, "steps": 2, "size": size, "timeout_s": 20}
        status, _, answer = ask(local_service.port, "POST", "/v1/fusions", body)
        statuses.append(status)
        assert status < 500, (body, answer)

    order()
    assert {200, 400} <= set(statuses), "both good and bad orders were made"


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
