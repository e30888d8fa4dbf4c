"""What comes with a request: its body and its files, read no further than allowed, and whether its client is still there."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from fastapi import Request
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.types import Message

from ray_jobs.service.refusal import refuse

MAX_FILES = 8
Found = TypeVar("Found")


async def while_there(request: Request, coming: Coroutine[Any, Any, Found]) -> Found:
    """What is coming, cancelled when the client goes. The request's body must have been read."""
    work = asyncio.create_task(coming)
    gone = asyncio.create_task(_until_gone(request))
    try:
        await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            raise refuse(408, "the client has gone")
        return work.result()
    finally:
        work.cancel()
        gone.cancel()


async def _until_gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def read_body(request: Request, max_bytes: int) -> bytes:
    """The body, read no further than it may be. Refused, 413, if there is more."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > max_bytes:
            raise refuse(413, f"body: more than {max_bytes} bytes")
    return bytes(body)


async def read_form(request: Request, max_bytes: int) -> tuple[bytes, dict[str, bytes]]:
    """(JSON, files by name) of a multipart request, or of a JSON one without files.

    Raises:
        Refused: 413 if it is too large, 400 if it is no form that is accepted.
    """
    body = await read_body(request, max_bytes)
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        return body, {}

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    try:
        form = await Request(request.scope, receive).form(max_files=MAX_FILES, max_fields=4, max_part_size=max_bytes)
    except (HTTPException, ValueError) as error:
        raise refuse(400, f"body: it is no form: {getattr(error, 'detail', error)}") from None
    files = {name: await value.read() for name, value in form.items() if isinstance(value, UploadFile)}
    said = form.get("request")
    await form.close()
    if not isinstance(said, str):
        raise refuse(400, "request: not given, and there is no default; accepted is a field with JSON", "request")
    return said.encode(), files
