"""The create-only put on a folder and on S3, and the probe that refuses a server without it."""

import http.server
import threading
import urllib.error
import urllib.request

import pytest

from ray_jobs.errors import AlreadyStored, StoreUnreachable, UnsafeStore
from ray_jobs.store import Store


def test_create_reads_back_and_never_overwrites(store):
    store.create("a/b", b"one")
    with pytest.raises(AlreadyStored):
        store.create("a/b", b"two")
    assert store.read("a/b") == b"one"
    assert store.names("a") == ["a/b"]
    assert store.names("nothing") == []


def test_missing_name_is_file_not_found(store):
    with pytest.raises(FileNotFoundError):
        store.read("a/missing")
    assert not store.exists("a/missing")


@pytest.mark.parametrize("name", ["../out", "/etc/passwd", "a/../../b"])
def test_names_stay_inside_the_store(folder_store, name):
    with pytest.raises(ValueError, match="leaves the store"):
        folder_store.create(name, b"x")


def test_probe_passes_and_leaves_nothing(store):
    store.probe()
    assert store.names("probe") == []


@pytest.mark.reliability(4)
def test_sixteen_creators_of_one_name_have_one_winner(store):
    results = []
    barrier = threading.Barrier(16)

    def put(number):
        own = Store(store.uri, store.options)
        barrier.wait()
        try:
            own.create("race", f"writer {number}".encode())
            results.append(number)
        except AlreadyStored:
            results.append(None)

    threads = [threading.Thread(target=put, args=(n,)) for n in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    winners = [n for n in results if n is not None]
    assert len(results) == 16 and len(winners) == 1
    assert store.read("race") == f"writer {winners[0]}".encode()


class _Relay(http.server.BaseHTTPRequestHandler):
    """A proxy before the S3 server: may drop the reply to a put, or strip If-None-Match."""

    protocol_version = "HTTP/1.1"
    upstream = ""
    drop_replies = 0
    ignore_conditions = False

    def _forward(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {k: v for k, v in self.headers.items() if k.lower() not in ("connection", "expect")}
        headers.setdefault("Content-Type", "application/octet-stream")
        if type(self).ignore_conditions:
            headers.pop("If-None-Match", None)
        request = urllib.request.Request(
            self.upstream + self.path, data=body or None, method=self.command, headers=headers
        )
        try:
            with urllib.request.urlopen(request, timeout=10) as reply:
                status, content, kept = reply.status, reply.read(), dict(reply.headers)
        except urllib.error.HTTPError as error:
            with error:
                status, content, kept = error.code, error.read(), dict(error.headers)
        if self.command == "PUT" and type(self).drop_replies > 0:
            type(self).drop_replies -= 1
            self.close_connection = True
            return
        self.send_response(status)
        for name, value in kept.items():
            if name.lower() not in ("transfer-encoding", "content-length", "connection", "date", "server"):
                self.send_header(name, value)
        length = kept.get("Content-Length", "0") if self.command == "HEAD" else str(len(content))
        self.send_header("Content-Length", length)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = _forward

    def log_message(self, *args):
        pass


@pytest.fixture
def relayed(s3_store):
    """The S3 store seen through the relay."""

    handler = type("Relay", (_Relay,), {"upstream": s3_store.options["endpoint_url"]})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    options = {**s3_store.options, "endpoint_url": f"http://127.0.0.1:{server.server_address[1]}"}
    yield Store(s3_store.uri, options), handler
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.reliability(4)
def test_a_lost_reply_is_resolved_by_reading_back(relayed, s3_store):
    through, relay = relayed
    relay.drop_replies = 1
    through.create("lost", b"mine")
    assert s3_store.read("lost") == b"mine"
    relay.drop_replies = 1
    with pytest.raises(AlreadyStored):
        through.create("lost", b"another")
    assert s3_store.read("lost") == b"mine"


def test_a_server_that_ignores_conditions_is_refused(relayed):
    through, relay = relayed
    relay.ignore_conditions = True
    with pytest.raises(UnsafeStore, match="If-None-Match"):
        through.probe()


def test_unreachable_s3_is_one_clear_error(s3_options):
    gone = Store(
        "s3://bucket/prefix",
        {**s3_options, "endpoint_url": "http://127.0.0.1:9", "config_kwargs": {"retries": {"max_attempts": 0}}},
    )
    with pytest.raises(StoreUnreachable, match="storing x in s3://bucket/prefix"):
        gone.create("x", b"")


def test_unusable_folder_is_one_clear_error(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(StoreUnreachable, match="storing x"):
        Store(str(tmp_path / "file" / "store")).create("x", b"")


def test_other_schemes_are_refused():
    with pytest.raises(ValueError, match="scheme 'gs'"):
        Store("gs://bucket")
