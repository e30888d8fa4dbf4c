"""Row 12: the service against an unbatched FastAPI and uvicorn server of the same pair, sixteen clients; and its overhead.

Throughput: the carried pair, few steps, every client asking again as soon as it is answered. Overhead: engines that do
nothing, one client; the difference of the medians is what the service's own path costs.
"""

import asyncio
import base64
import functools
import io
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import aiohttp
import numpy as np
from PIL import Image

from ray_jobs.config_model import SAMPLE_MODELS
from tests.benchmarks.interleaved import BenchmarkRow, compare
from tests.conftest import free_port

CLIENTS = 16
PEER = "FastAPI + uvicorn, unbatched"
OVERHEAD_S = 0.003


async def ask(session, port, number, steps):
    order = {"prompt": "a red circle", "seed": number, "steps": steps, "guidance": 3.0, "timeout_s": 120.0}
    async with session.post(f"http://127.0.0.1:{port}/v1/images/generations", json=order) as answer:
        answer.raise_for_status()
        return (await answer.json())["data"][0]["b64_json"]


async def ask_all(port, requests, steps):
    """The pictures of so many orders, sixteen of them at a time, by seed."""
    numbers, made = iter(range(requests)), {}

    async def client(session):
        for number in numbers:
            made[number] = await ask(session, port, number, steps)

    async with aiohttp.ClientSession() as session:
        await asyncio.gather(*(client(session) for _ in range(CLIENTS)))
    return made


async def median_seconds(port, requests):
    """Median of so many orders, one after the other, on one connection."""
    took = []
    async with aiohttp.ClientSession() as session:
        for number in range(requests):
            started = time.perf_counter()
            await ask(session, port, number, 1)
            took.append(time.perf_counter() - started)
    return statistics.median(took)


def pixels(text):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(text)))).astype(int)


def check_pictures(mine, theirs):
    worst = max(np.abs(pixels(mine[number]) - pixels(theirs[number])).max() for number in mine)
    assert worst <= 2, worst
    return f"same pictures, pixels differ by {worst} of 255 at most (other batch shapes)"


def wait_for(port, process=None):
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline:
        try:
            return asyncio.run(ask_all(port, 1, 1))
        except (aiohttp.ClientError, OSError):
            assert process is None or process.poll() is None
            time.sleep(0.5)
    raise TimeoutError(port)


def start_peer(folder):
    port = free_port()
    command = [sys.executable, "-m", "tests.benchmarks.plain_server", "--port", str(port)]
    process = subprocess.Popen(command + (["--folder", str(folder)] if folder else []))
    wait_for(port, process)
    return process, port


def serve_ours(port, loader, name):
    from ray import serve

    from ray_jobs.serve_generation import ServiceSettings, build

    serve.run(build(loader, ServiceSettings(follow_s=0.0)), name=name)
    wait_for(port)


def measure(full: bool) -> list[BenchmarkRow]:
    """Throughput at eight steps, thirty with `full`; then the overhead."""
    import ray
    from ray import serve

    from ray_jobs.serve_cli import carried_pair
    from ray_jobs.service.engine import ExpertsLoader
    from ray_jobs.store import Store
    from tests.ray_jobs.service.stub_engine import StubLoader

    port = free_port()
    with tempfile.TemporaryDirectory(prefix="pangu-row12-") as name:
        token = Path(name) / "token"
        token.write_text("a" * 64)
        os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}
        ray.init("local", num_cpus=4, include_dashboard=False, log_to_driver=False)
        serve.start(http_options={"host": "127.0.0.1", "port": port})
        try:
            store = Store(f"{name}/store")
            rows = [_throughput(port, ExpertsLoader(store, carried_pair(store.uri), "cpu"), 30 if full else 8)]
            (Path(name) / "alias").write_text("stub")
            rows.append(_overhead(port, StubLoader(Path(name) / "alias", step_s=0.0)))
            return rows
        finally:
            serve.shutdown()
            ray.shutdown()


def _throughput(port, loader, steps) -> BenchmarkRow:
    serve_ours(port, loader, "row12")
    peer, peer_port = start_peer(SAMPLE_MODELS / "experts")
    run = functools.partial(ask_all, requests=2 * CLIENTS, steps=steps)
    try:
        return compare(
            12,
            f"{CLIENTS} clients, {2 * CLIENTS} orders of {steps} steps",
            PEER,
            ours=lambda: asyncio.run(run(port)),
            theirs=lambda: asyncio.run(run(peer_port)),
            check=check_pictures,
            target=4.0,
        )
    finally:
        peer.kill()
        peer.wait()


def _overhead(port, loader) -> BenchmarkRow:
    serve_ours(port, loader, "row12")
    peer, peer_port = start_peer(None)
    try:
        medians = [
            (asyncio.run(median_seconds(port, 60)), asyncio.run(median_seconds(peer_port, 60))) for _ in range(5)
        ]
        more_s = statistics.median(mine - theirs for mine, theirs in medians)
        return compare(
            12,
            "p50 of an order without work, one client",
            PEER,
            ours=lambda: asyncio.run(median_seconds(port, 60)),
            theirs=lambda: asyncio.run(median_seconds(peer_port, 60)),
            check=lambda mine, theirs: (
                f"overhead {1000 * more_s:.1f} ms at the median (target {1000 * OVERHEAD_S:.0f})"
            ),
            target=1.0,
        )
    finally:
        peer.kill()
        peer.wait()
