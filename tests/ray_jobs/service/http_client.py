"""Plain HTTP against the service, so that every header and every byte is seen."""

import base64
import http.client
import io
import json

import numpy as np
from PIL import Image

KEY = "a-key-of-the-test"
OTHER_KEY = "another-key-of-the-test"
SSE = "text/event-stream"


def ask(port, method, path, body=None, key=KEY, timeout=120, headers=None):
    """(status, headers, JSON, text or bytes) of one request."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        sent = {**({"Authorization": f"Bearer {key}"} if key else {}), **(headers or {})}
        data = body if body is None or isinstance(body, bytes) else json.dumps(body)
        connection.request(method, path, data, sent)
        answer = connection.getresponse()
        read = answer.read()
        kind = answer.headers.get("content-type", "")
        if kind.startswith("application/json"):
            return answer.status, answer.headers, json.loads(read)
        return answer.status, answer.headers, read if kind.startswith("image/") else read.decode()
    finally:
        connection.close()


def draw(port, *, key=KEY, headers=None, timeout=120, **fields):
    """One generation of few steps."""
    body = {"prompt": "a red ball", "steps": 2, "seed": 7, **fields}
    return ask(port, "POST", "/v1/images/generations", body, key=key, headers=headers, timeout=timeout)


def pixels(entry_or_file):
    """(H, W, 3) of an answer's entry or of a file."""
    file = entry_or_file if isinstance(entry_or_file, bytes) else base64.b64decode(entry_or_file["b64_json"])
    return np.asarray(Image.open(io.BytesIO(file)))


def events_of(text):
    """[(id, name, data)] of a stream of server-sent events."""
    events = []
    for block in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line)
        if "data" in fields:
            data = json.loads(fields["data"]) if fields["data"] != "[DONE]" else None
            events.append((fields.get("id"), fields.get("event"), data))
    return events
