"""Row 8: the generation job on Ray Data against bare Python loops over the same generator, two processes on either side.

Ours plans, notes beginnings, marks and reads back, digests and stores parts that survive a kill; theirs samples and saves
PNG files. The pace is that of the run itself, from when every process has stored something; starting up is told beside it.
"""

import functools
import statistics
import tempfile
import time
import uuid
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from PIL import Image

from pangu.generation_request import GenerationRequest
from ray_jobs.job import plan_job, run_job
from ray_jobs.parts import read_rows
from ray_jobs.store import Store
from tests.benchmarks.interleaved import ROUNDS, BenchmarkRow, machine

WORKERS, IMAGES_PER_PART, BATCH = 2, 32, 16
SETTINGS: dict[str, Any] = {
    "steps": 10,
    "guidance": 3.0,
    "batch_size": BATCH,
    "images_per_part": IMAGES_PER_PART,
    "runtime": {"workers": WORKERS, "cpus_per_worker": 1, "device": "cpu", "threads": 1},
}


def prepare(folder: Path, count: int) -> Path:
    """A store with a narrow pair and square prompts; copies of it are what the rounds run in."""
    from tests.ray_jobs.generation_job import with_folder
    from tests.ray_jobs.tiny_pair import write_tiny_pair

    store = Store(str(folder / "store"))
    with_folder(store, write_tiny_pair(folder / "pair"))
    path = folder / "prompts.txt"
    path.write_text("\n".join(f"a red ball, number {number}" for number in range(count)), encoding="utf-8")
    run_job(plan_job("register_prompts", {"path": str(path), "rows_per_part": 128}, {}, store), store)
    return folder / "store"


def ours(prepared: Path, folder: Path) -> tuple[list[float], dict[str, str], float]:
    """When each part was stored, the digest of each picture's pixels, and the seconds of the whole job."""
    from tests.ray_jobs.crashing import copy_of

    store = copy_of(Store(str(prepared)), folder / uuid.uuid4().hex)
    started = time.monotonic()
    manifest = run_job(plan_job("generate_images", SETTINGS, {}, store), store).manifest
    seconds = time.monotonic() - started
    parts = [Path(store.path(f"{manifest.prefix}/parts/{part.name}")) for part in manifest.parts]
    rows = read_rows(store, manifest, ["key", "image_sha256"]).to_pylist()
    stamps = sorted(path.stat().st_mtime for path in parts)
    return stamps, {row["key"]: row["image_sha256"] for row in rows}, seconds


def requests_of(prepared: Path) -> list[GenerationRequest]:
    """What the job asks of its generator, row by row."""
    from ray_jobs.generation_plan import plan_parts, rows_of_part
    from ray_jobs.generation_worker import ImageMaker

    store = Store(str(prepared))
    plan = plan_job("generate_images", SETTINGS, {}, store)
    maker = ImageMaker(store, plan.config, plan.inputs["experts"])
    prompts = plan.inputs["prompts"]
    return [
        maker.request_of(maker.begin_row(prompt, index))
        for part in plan_parts(store, prompts, plan.config)
        for prompt, index in rows_of_part(store, prompts, plan.config, part)
    ]


def bare_loop(pair: Path, requests: list[GenerationRequest], folder: Path) -> tuple[list[float], dict[str, str]]:
    """Load, sample, save: what somebody writes in ten lines."""
    import torch

    from pangu.diffusers_generator import load_generator

    torch.set_num_threads(1)
    generator = load_generator(pair, rows_per_batch=BATCH)
    stamps, digests = [], {}
    for start in range(0, len(requests), IMAGES_PER_PART):
        for made in generator.generate(requests[start : start + IMAGES_PER_PART]):
            Image.fromarray(made.image).save(folder / f"{uuid.uuid4().hex}.png")
            digests[made.request.key] = made.sha256
        stamps.append(time.time())
    return stamps, digests


def theirs(pair: Path, requests: list[GenerationRequest], folder: Path) -> tuple[list[float], dict[str, str], float]:
    """As `ours`, from a loop a process."""
    target = folder / uuid.uuid4().hex
    target.mkdir()
    blocks = [requests[at : at + IMAGES_PER_PART] for at in range(0, len(requests), IMAGES_PER_PART)]
    shares = [[row for block in blocks[number::WORKERS] for row in block] for number in range(WORKERS)]
    started = time.monotonic()
    with ProcessPoolExecutor(WORKERS, mp_context=get_context("spawn")) as pool:
        done = list(pool.map(functools.partial(bare_loop, pair, folder=target), shares))
    seconds = time.monotonic() - started
    return sorted(stamp for stamps, _ in done for stamp in stamps), done[0][1] | done[1][1], seconds


def seconds_per_image(stamps: list[float]) -> float:
    """Of the run itself: after each process has stored one part."""
    return (stamps[-1] - stamps[WORKERS - 1]) / ((len(stamps) - WORKERS) * IMAGES_PER_PART)


def measure(full: bool) -> list[BenchmarkRow]:
    """192 pictures of 64 px at 10 steps, 1920 with `full`; the starts of the processes alone take two minutes."""
    count = 1920 if full else 192
    with tempfile.TemporaryDirectory(prefix="bench-mass-") as name:
        folder = Path(name)
        prepared = prepare(folder, count)
        requests = requests_of(prepared)
        pairs, starts = [], []
        for _ in range(ROUNDS):
            (mine, my_digests, my_s), (peers, peer_digests, peer_s) = (
                ours(prepared, folder),
                theirs(folder / "pair", requests, folder),
            )
            assert my_digests == peer_digests and len(my_digests) == count
            pairs.append((seconds_per_image(mine), seconds_per_image(peers)))
            starts.append((my_s, peer_s))
    ratios = [peer / own for own, peer in pairs]
    whole = statistics.median(peer_s / my_s for my_s, peer_s in starts)
    return [
        BenchmarkRow(
            row=8,
            case=f"{count} pictures, {WORKERS} processes, s a picture",
            peer="bare loops over the same generator, PNG files",
            ours=statistics.median(own for own, _ in pairs),
            theirs=statistics.median(peer for _, peer in pairs),
            ratio=statistics.median(ratios),
            spread=(min(ratios), max(ratios)),
            target=0.97,
            checked_equal=f"pixels equal to the bit; {whole:.2f} with the start of all processes but Ray's own",
            machine=machine(),
        )
    ]
