"""Server-sent events: one order's progress as text, in our words for jobs and in OpenAI's for streams."""

import base64
import json
import time
from collections.abc import AsyncIterator
from typing import Any

from ray_jobs.service.jobs import refuse_all_blocked
from ray_jobs.service.refusal import Refusal
from ray_jobs.service.work import Event, Made, Started, Step, Work

HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


def event_text(name: str, data: dict[str, Any], number: int | None = None) -> str:
    """One event. Its data is one line, since JSON escapes line ends."""
    lines = [f"id: {number}"] if number is not None else []
    return "\n".join([*lines, f"event: {name}", f"data: {json.dumps(data)}", "", ""])


async def openai_stream(events: AsyncIterator[Event], work: Work) -> AsyncIterator[str]:
    """A stream as OpenAI's clients read it: partial images, then each picture completed, or an error."""
    facts: dict[str, Any] = {
        "created_at": int(time.time()),
        "size": work.order.size,
        "quality": work.order.quality,
        "background": work.order.background,
        "output_format": work.order.output_format,
    }
    partial = 0
    async for event in events:
        end = event if isinstance(event, Started | Step) else refuse_all_blocked(event)
        if isinstance(end, Step):
            for file in end.previews:
                text = base64.b64encode(file).decode()
                name = "image_generation.partial_image"
                yield event_text(name, {"type": name, "b64_json": text, "partial_image_index": partial, **facts})
                partial += 1
        elif isinstance(end, Refusal):
            yield event_text("error", {"type": "error", **end.body()})
        elif isinstance(end, Made):
            facts |= {"size": end.size, "model": end.model}
            name = "image_generation.completed"
            for index, picture in enumerate(end.pictures):
                if picture is not None:
                    text = base64.b64encode(picture).decode()
                    usage = {"usage": _USAGE, "seed": work.seed + index}
                    yield event_text(name, {"type": name, "b64_json": text, **usage, **facts})
    yield "data: [DONE]\n\n"


_USAGE = {
    "input_tokens": 0,
    "input_tokens_details": {"image_tokens": 0, "text_tokens": 0},
    "output_tokens": 0,
    "total_tokens": 0,
}
"""OpenAI's clients expect one; nothing is counted in tokens here."""
