"""The official OpenAI client, unchanged, against the service."""

import base64

import openai
import pytest

from tests.ray_jobs.service.http_client import KEY, pixels


@pytest.fixture
def client(local_service):
    with openai.OpenAI(base_url=f"http://127.0.0.1:{local_service.port}/v1", api_key=KEY, max_retries=0) as made:
        yield made


def test_it_generates_pictures(client):
    answer = client.images.generate(model="experts", prompt="a red ball", n=2, size="64x64")
    assert len(answer.data) == 2 and answer.created > 0
    assert pixels(base64.b64decode(answer.data[0].b64_json)).shape == (64, 64, 3)


def test_our_own_fields_go_along(client):
    answer = client.images.generate(
        prompt="一个红色的球", output_format="webp", extra_body={"seed": 200, "steps": 3, "styles": {"cartoon": 2}}
    )
    assert base64.b64decode(answer.data[0].b64_json).startswith(b"RIFF")
    assert answer.data[0].seed == 200


def test_it_streams_partial_images(client):
    stream = client.images.generate(prompt="a star", stream=True, partial_images=2, extra_body={"steps": 6})
    seen = [(event.type, getattr(event, "partial_image_index", None)) for event in stream]
    assert seen == [
        ("image_generation.partial_image", 0),
        ("image_generation.partial_image", 1),
        ("image_generation.completed", None),
    ]


def test_it_lists_models_and_raises_its_own_errors(client, local_service):
    assert "experts@champion" in [model.id for model in client.models.list()]
    assert client.models.retrieve("experts").id == "experts"
    with pytest.raises(openai.NotFoundError) as missing:
        client.images.generate(model="dall-e-3", prompt="x")
    assert missing.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError, match="size"):
        client.images.generate(prompt="x", size="1x1")
    stranger = openai.OpenAI(base_url=client.base_url, api_key="not-a-known-key-at-all", max_retries=0)
    with stranger, pytest.raises(openai.AuthenticationError):
        stranger.models.list()


def test_a_failing_stream_raises(client):
    with pytest.raises(openai.APIError, match="timeout_s"):
        list(client.images.generate(prompt="x", stream=True, extra_body={"steps": 100, "timeout_s": 0.3}))
