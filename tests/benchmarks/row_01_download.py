"""Row 1: download, resize and store against stock img2dataset, 2 processes x 32 threads each, from a loopback server.

Ours runs with its address guard, opt-out headers and hashes on. Both start their processes anew in every round.
"""

import functools
import io
import json
import multiprocessing
import subprocess
import sys
import tempfile
import time
import urllib.request
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from curation.buckets import BucketTable
from curation.download import DownloadSettings, download_part
from curation.fetch_guard import FetchSettings
from curation.records import URL_LIST
from curation.sample.site import write_site
from tests.benchmarks.interleaved import BenchmarkRow, compare

PROCESSES, THREADS, SIDE_PX = 2, 32, 128
ANY_SHAPE = BucketTable.from_sizes([((SIDE_PX, SIDE_PX), (SIDE_PX, SIDE_PX))])


def store_part(rows: pa.Table, host: str, path: Path) -> None:
    """One part of the list, downloaded and stored: what a worker process does."""
    settings = DownloadSettings(
        fetch=FetchSettings(timeout_s=10.0, allowed_hosts=frozenset({host})),
        threads=THREADS,
        retries=0,
        buckets=ANY_SHAPE,
    )
    pq.write_table(download_part(rows, settings), path)


def ours(rows: pa.Table, host: str, folder: Path) -> dict[str, bytes]:
    target = Path(tempfile.mkdtemp(dir=folder))
    half = -(-rows.num_rows // PROCESSES)
    with ProcessPoolExecutor(PROCESSES, mp_context=multiprocessing.get_context("spawn")) as pool:
        started = [
            pool.submit(store_part, rows.slice(at, half), host, target / f"{at}.parquet")
            for at in range(0, rows.num_rows, half)
        ]
        for part in started:
            part.result()
    found = [row for path in sorted(target.iterdir()) for row in pq.read_table(path).to_pylist()]
    return {row["url"]: row["image"]["bytes"] for row in found if row["status"] == "success"}


def theirs(url_list: Path, num_rows: int, folder: Path) -> dict[str, bytes]:
    target = Path(tempfile.mkdtemp(dir=folder)) / "out"
    command = (
        "import sys; from img2dataset import download\n"
        "if __name__ == '__main__':\n"
        f"    download(url_list={str(url_list)!r}, input_format='jsonl', url_col='url', output_folder={str(target)!r},\n"
        f"             output_format='parquet', processes_count={PROCESSES}, thread_count={THREADS}, timeout=10,\n"
        f"             image_size={SIDE_PX}, resize_mode='keep_ratio', resize_only_if_bigger=True, encode_quality=95,\n"
        f"             compute_hash='sha256', number_sample_per_shard={-(-num_rows // PROCESSES)})\n"
    )
    script = target.parent / "peer.py"
    script.write_text(command, encoding="utf-8")
    subprocess.run([sys.executable, "-W", "ignore", script], check=True, capture_output=True)
    found = [row for path in sorted(target.glob("*.parquet")) for row in pq.read_table(path).to_pylist()]
    return {row["url"]: row["jpg"] for row in found if row["status"] == "success"}


def check(num_rows: int, ours: dict[str, bytes], theirs: dict[str, bytes]) -> str:
    """All pictures on both sides, of the same size, and looking the same."""
    assert set(ours) == set(theirs) and len(ours) == num_rows, (len(ours), len(theirs), num_rows)
    differences = []
    for url, mine in ours.items():
        pair = [Image.open(io.BytesIO(data)).convert("RGB") for data in (mine, theirs[url])]
        assert max(abs(a - b) for a, b in zip(pair[0].size, pair[1].size, strict=True)) <= 1, (url, pair)
        small = [np.asarray(image.resize((32, 32), Image.Resampling.BOX), np.float32) for image in pair]
        differences.append(float(np.abs(small[0] - small[1]).mean()))
    assert max(differences) < 4.0, max(differences)
    return f"{num_rows} pictures, same sizes, mean difference {np.mean(differences):.2f} of 255"


def wait_for(url: str) -> None:
    for _ in range(100):
        try:
            urllib.request.urlopen(url, timeout=5).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise RuntimeError(f"{url} does not answer")


def measure(full: bool) -> list[BenchmarkRow]:
    """200 pictures of 256 px, 2000 with `full`."""
    from tests.conftest import free_port

    with tempfile.TemporaryDirectory(prefix="bench-download-") as name:
        folder = Path(name)
        site = [row for row in write_site(folder / "site", num_scenes=2000 if full else 200) if row.case == "plain"]
        host = f"127.0.0.1:{free_port()}"
        urls = [f"http://{host}{row.address}" for row in site]
        url_list = folder / "list.jsonl"
        url_list.write_text("".join(json.dumps({"url": url}) + "\n" for url in urls), encoding="utf-8")
        blank = dict.fromkeys(URL_LIST.names)
        rows = pa.Table.from_pylist([blank | {"key": f"{n:024x}", "url": url} for n, url in enumerate(urls)], URL_LIST)
        server = [sys.executable, "-m", "curation.sample.http_server", "--folder", folder / "site"]
        with subprocess.Popen([*server, "--port", host.rpartition(":")[2]], stdout=subprocess.DEVNULL) as process:
            try:
                wait_for(urls[0])
                return [
                    compare(
                        1,
                        f"{len(urls)} pictures, processes started anew",
                        "img2dataset 1.47, 2 processes x 32 threads",
                        ours=functools.partial(ours, rows, host, folder),
                        theirs=functools.partial(theirs, url_list, len(urls), folder),
                        check=functools.partial(check, len(urls)),
                        target=1.5,
                        starts_cold=True,
                    )
                ]
            finally:
                process.terminate()
