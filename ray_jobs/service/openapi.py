"""How the service describes itself: OpenAPI with examples, and errors in OpenAI's shape whoever raises them."""

from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from ray_jobs.service.orders import Order
from ray_jobs.service.refusal import RETRY_AFTER_S, Refusal, Refused

DESCRIPTION = """Pictures from text by PanGu-Draw, in the words of OpenAI's API: its clients work unchanged.

With API keys set, every path under /v1 wants `Authorization: Bearer KEY`; without, only programs on the same machine are
served. Every picture says in its metadata that a model made it."""

_MEANINGS = {
    400: "something in the request is not accepted; `message` names field, value and what is",
    401: "no valid API key",
    403: "not for this caller",
    404: "no such model, job or picture",
    408: "the order's own time was over before its end",
    413: "the body is too large",
    429: "this key has as many orders in hand as it may",
    503: "no place in the queue, or the model is starting",
}
_EXAMPLES = {
    "english": {
        "summary": "one picture",
        "value": {"prompt": "a red square left of a green circle", "steps": 20, "guidance": 3, "seed": 7},
    },
    "chinese": {
        "summary": "two cartoons, as files at urls",
        "value": {"prompt": "三个蓝色的圆", "n": 2, "styles": {"cartoon": 2}, "response_format": "url"},
    },
    "asynchronous": {
        "summary": "a job, with three previews on the way",
        "value": {"prompt": "a yellow star", "async": True, "partial_images": 3},
    },
}
_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
        }
    },
}


def answers(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The refusals of a path, for its description."""
    return {
        status: {
            "description": _MEANINGS[status],
            "content": {
                "application/json": {
                    "schema": _ERROR,
                    "example": Refusal(status, _MEANINGS[status]).body(),
                }
            },
            **({"headers": {"Retry-After": {"schema": {"type": "integer"}}}} if status in (429, 503) else {}),
        }
        for status in statuses
    }


def order_body(kind: type[Order], examples: dict[str, Any] | None = None) -> dict[str, Any]:
    """The request body of an order, for a path's description: its schema, whole, and examples."""
    schema = _inlined(kind.model_json_schema())
    content = {"application/json": {"schema": schema, "examples": examples or _EXAMPLES}}
    return {"requestBody": {"required": True, "content": content}}


def _inlined(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema with every `$ref` replaced by what it leads to; no model of ours refers to itself."""
    definitions = schema.pop("$defs", {})

    def resolve(node: Any) -> Any:  # noqa: ANN401 any JSON
        if isinstance(node, list):
            return [resolve(each) for each in node]
        if not isinstance(node, dict):
            return node
        if "$ref" in node:
            return resolve(definitions[node["$ref"].rpartition("/")[2]])
        return {name: resolve(value) for name, value in node.items()}

    resolved: dict[str, Any] = resolve(schema)
    return resolved


def use_own_errors(api: FastAPI) -> None:
    """Give every error of an API OpenAI's shape, also those that the framework finds."""
    api.add_exception_handler(Refused, _answer_refused)
    api.add_exception_handler(HTTPException, _answer_http)
    api.add_exception_handler(RequestValidationError, _answer_invalid)


async def _answer_refused(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, Refused)
    refusal = error.refusal
    return JSONResponse(refusal.body(), refusal.status, refusal.headers())


async def _answer_http(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    headers = {**(error.headers or {}), **({"Retry-After": str(RETRY_AFTER_S)} if error.status_code == 503 else {})}
    return JSONResponse(Refusal(error.status_code, str(error.detail)).body(), error.status_code, headers)


async def _answer_invalid(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    problem = error.errors()[0]
    return JSONResponse(Refusal(400, f"{problem['loc'][-1]}: {problem['msg']}").body(), 400)
