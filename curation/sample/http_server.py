"""A threaded loopback HTTP server for a folder of pictures, able to misbehave in the ways that real hosts do.

`python -m curation.sample.http_server --folder F [--port P]` serves any folder. Where the folder holds
`behaviours.json`, the paths named there answer as it says; without it every file is simply served.
"""

import argparse
import json
import logging
import mimetypes
import threading
from collections.abc import Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from urllib.parse import unquote, urlsplit

from pydantic import BaseModel, ConfigDict, Field

BEHAVIOURS_FILE = "behaviours.json"
_LOG = logging.getLogger(__name__)


class Behaviour(BaseModel):
    """How one path answers; what is not said is as usual."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    status: int = Field(200, ge=200, le=599)
    headers: dict[str, str] = {}
    location: str | None = None
    never_answers: bool = False
    promised_bytes: int | None = Field(None, ge=0, description="Content-Length to announce; the rest never comes")


def write_behaviours(folder: Path, behaviours: Mapping[str, Behaviour]) -> None:
    """Store the behaviours of paths ('/a/b.png') beside the files."""
    rows = {path: behaviour.model_dump(exclude_defaults=True) for path, behaviour in sorted(behaviours.items())}
    (folder / BEHAVIOURS_FILE).write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def read_behaviours(folder: Path) -> dict[str, Behaviour]:
    """The stored behaviours, none where the folder has no such file."""
    path = folder / BEHAVIOURS_FILE
    if not path.is_file():
        return {}
    return {name: Behaviour(**row) for name, row in json.loads(path.read_text(encoding="utf-8")).items()}


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, folder: Path, host: str, port: int) -> None:
        self.folder = folder.resolve()
        self.behaviours = read_behaviours(folder)
        self.is_closing = threading.Event()
        super().__init__((host, port), _Answer)


class _Answer(BaseHTTPRequestHandler):
    server: _Listener
    protocol_version = "HTTP/1.1"
    timeout = 30

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def log_message(self, format: str, *args: object) -> None:
        _LOG.debug("%s " + format, self.client_address[0], *args)

    def _answer(self, *, with_body: bool) -> None:
        path = unquote(urlsplit(self.path).path)
        behaviour = self.server.behaviours.get(path, Behaviour())
        if behaviour.never_answers:
            self.server.is_closing.wait()
            self.close_connection = True
            return
        if behaviour.location is not None:
            self._send(behaviour.status, {**behaviour.headers, "Location": behaviour.location}, b"", with_body)
            return
        file = self._file(path)
        if behaviour.status >= 400 or file is None:
            status = behaviour.status if behaviour.status >= 400 else HTTPStatus.NOT_FOUND
            self._send(status, {"Content-Type": "text/plain"}, b"not here\n", with_body)
            return
        kind = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
        headers = {"Content-Type": kind, **behaviour.headers}
        self._send(behaviour.status, headers, file.read_bytes(), with_body, behaviour.promised_bytes)

    def _file(self, path: str) -> Path | None:
        """The file a path names, None for anything outside the folder, hidden, or no plain file."""
        file = (self.server.folder / path.lstrip("/")).resolve()
        inside = file.is_relative_to(self.server.folder) and file.name != BEHAVIOURS_FILE
        return file if inside and file.is_file() and not file.name.startswith(".") else None

    def _send(
        self, status: int, headers: Mapping[str, str], body: bytes, with_body: bool, promised: int | None = None
    ) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body) if promised is None else promised))
        if promised is not None:
            self.close_connection = True
        self.end_headers()
        if with_body:
            self.wfile.write(body)


class SampleServer:
    """Serves a folder on a background thread between `with SampleServer(folder) as server:` and its end.

    `port` 0 takes a free one; `url` tells where it listens. Requests that never get an answer end with the server.
    """

    def __init__(self, folder: Path, *, port: int = 0, host: str = "127.0.0.1") -> None:
        """Bind at once, so that `url` is known before the server starts; OSError where the port is taken."""
        if not folder.is_dir():
            raise ValueError(f"folder: {folder} given, accepted an existing folder")
        self._listener = _Listener(folder, host, port)
        self._thread = threading.Thread(target=self._listener.serve_forever, args=(0.05,), daemon=True)

    @property
    def url(self) -> str:
        """Base address without a slash at its end."""
        host, port = self._listener.server_address[:2]
        return f"http://{host!s}:{port}"

    def __enter__(self) -> "SampleServer":
        """Start to answer."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop, free the port and let go of every request that was left waiting."""
        self._listener.is_closing.set()
        self._listener.shutdown()
        self._listener.server_close()
        self._thread.join()

    def serve_until_interrupted(self) -> None:
        """Answer on this thread until Ctrl-C or a termination of the process."""
        try:
            self._listener.serve_forever()
        finally:
            self._listener.is_closing.set()
            self._listener.server_close()


def main() -> None:
    """Serve a folder until interrupted; prints the base address first."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--port", type=int, default=0, help="0 takes a free port")
    chosen = parser.parse_args()
    server = SampleServer(chosen.folder, port=chosen.port)
    print(server.url, flush=True)
    try:
        server.serve_until_interrupted()
    except KeyboardInterrupt:
        print("stopped")


if __name__ == "__main__":
    main()
