import http.client
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest

from curation.sample.http_server import Behaviour, SampleServer, write_behaviours


@pytest.fixture
def folder(tmp_path):
    inside = tmp_path / "served"
    inside.mkdir()
    (inside / "a.png").write_bytes(b"picture")
    (inside / ".hidden.png").write_bytes(b"hidden")
    (tmp_path / "secret.png").write_bytes(b"secret")
    write_behaviours(
        inside,
        {
            "/moved.png": Behaviour(status=302, location="/a.png"),
            "/silent.png": Behaviour(never_answers=True),
            "/broken.png": Behaviour(status=503),
            "/a.png": Behaviour(headers={"X-Robots-Tag": "noai"}),
        },
    )
    (inside / "half.jpg").write_bytes(b"half")
    return inside


def _get(url, timeout=5.0):
    with urllib.request.urlopen(url, timeout=timeout) as answer:
        return answer.status, dict(answer.headers), answer.read()


def test_files_headers_and_redirects(folder):
    with SampleServer(folder) as server:
        status, headers, body = _get(server.url + "/a.png")
        assert (status, body) == (200, b"picture")
        assert headers["X-Robots-Tag"] == "noai"
        assert headers["Content-Type"] == "image/png"
        assert _get(server.url + "/moved.png")[2] == b"picture"


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/none.png", 404),
        ("/broken.png", 503),
        ("/../secret.png", 404),
        ("/%2e%2e/secret.png", 404),
        ("/.hidden.png", 404),
        ("/behaviours.json", 404),
        ("/", 404),
    ],
)
def test_what_is_not_served(folder, path, status):
    with SampleServer(folder) as server:
        connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=5)
        connection.request("GET", path)
        answer = connection.getresponse()
        answer.read()
        connection.close()
        assert answer.status == status


def test_a_silent_path_times_out_and_does_not_hold_the_others_or_the_end(folder):
    started = time.monotonic()
    with SampleServer(folder) as server:
        with pytest.raises(TimeoutError):
            _get(server.url + "/silent.png", timeout=0.3)
        assert _get(server.url + "/a.png")[0] == 200
    assert time.monotonic() - started < 4


def test_a_promise_of_more_bytes_than_come(folder):
    write_behaviours(folder, {"/half.jpg": Behaviour(promised_bytes=400)})
    with SampleServer(folder) as server, pytest.raises(http.client.IncompleteRead):
        _get(server.url + "/half.jpg")


def test_a_plain_folder_is_served_without_behaviours(tmp_path):
    (tmp_path / "猫 1.jpg").write_bytes(b"cat")
    with SampleServer(tmp_path) as server:
        assert _get(server.url + "/%E7%8C%AB%201.jpg")[2] == b"cat"


def test_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(ValueError, match="folder"):
        SampleServer(tmp_path / "none")


def test_the_command_serves_a_folder(folder):
    command = [sys.executable, "-m", "curation.sample.http_server", "--folder", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            assert _get(url + "/a.png")[2] == b"picture"
        finally:
            process.terminate()
