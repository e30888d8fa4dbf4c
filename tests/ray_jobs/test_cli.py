"""The command as a user types it: one clear line and a non-zero exit for what they can mend."""

import os
import socket
import subprocess
import sys

import pytest


def pangu(*arguments, **environment):
    """Run the command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "ray_jobs.cli", *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "score_imagez"], "job: 'score_imagez' is unknown; accepted are register_url_list"),
        (["run", "generate_images", "--set", "stepz=3"], "generate_images.stepz: unknown key; accepted are"),
        (["run", "register_url_list", "--set", "path=/nowhere/list.csv"], "/nowhere/list.csv"),
        (
            ["run", "score_images", "--preset", "hugee"],
            "preset: 'hugee' is neither a file nor one of evaluation, full, sample, small",
        ),
        (["run", "score_images", "--input", "images"], "--input: 'images' has no '='"),
        (["run", "score_images"], "images: no such version in"),
        (["show", "metrics@4"], "metrics@4: no such version in"),
        (["ls", "--store", "gs://bucket"], "store: 'gs://bucket' has scheme 'gs'"),
        (["demo", "--url-list", "/nowhere/list.csv"], "url-list: /nowhere/list.csv is not a file"),
    ],
)
def test_bad_input_is_one_line_and_a_non_zero_exit(tmp_path, arguments, message):
    result = pangu(*arguments, PANGU_STORE=str(tmp_path / "store"), PANGU_HOME=str(tmp_path / "home"))
    assert result.returncode != 0
    assert result.stderr.count("\n") == 1 and result.stderr.startswith("error: ")
    assert message in result.stderr


def test_a_list_without_a_url_column_is_named(tmp_path):
    (tmp_path / "list.csv").write_text("link,caption\nhttps://example.org/a.png,x\n")
    result = pangu(
        "run", "register_url_list", "--set", f"path={tmp_path / 'list.csv'}", "--store", str(tmp_path / "store")
    )
    assert result.returncode != 0 and result.stderr.count("\n") == 1
    assert "column 'url' is missing; the columns there are link, caption" in result.stderr


def test_an_unreachable_store_is_named(tmp_path):
    options = '{"endpoint_url": "http://127.0.0.1:9", "key": "k", "secret": "s"}'
    result = pangu("ls", "--store", "s3://bucket/x", PANGU_STORE_OPTIONS=options)
    assert result.returncode == 1 and result.stderr.count("\n") == 1
    assert "s3://bucket/x" in result.stderr


def test_an_occupied_port_is_named(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        result = pangu(
            "up", "--home", str(tmp_path / "home"), "--ray-port", str(port), PANGU_STORE=str(tmp_path / "store")
        )
    assert result.returncode == 1 and result.stderr.count("\n") == 1
    assert f"port {port} on 127.0.0.1, wanted for ray, is taken" in result.stderr


def test_rows_go_in_are_shown_and_come_out(tmp_path):
    (tmp_path / "list.txt").write_text("https://example.org/a.png\nftp://example.org/b.png\n")
    store = str(tmp_path / "store")
    first = pangu("run", "register_url_list", "--set", f"path={tmp_path / 'list.txt'}", "--store", store)
    assert first.returncode == 0, first.stderr
    assert "in 2, kept 1, invalid_url 1" in first.stdout
    again = pangu("run", "register_url_list", "--set", f"path={tmp_path / 'list.txt'}", "--store", store)
    assert "is already there" in again.stdout
    shown = pangu("show", "url_list@1", "--store", store)
    assert "invalid_url 1" in shown.stdout and "list.txt" in shown.stdout.replace("\n", "")
    out = tmp_path / "out"
    assert pangu("export", "url_list", "--to", str(out), "--format", "parquet", "--store", store).returncode == 0
    assert len(list(out.glob("*.parquet"))) == 1
