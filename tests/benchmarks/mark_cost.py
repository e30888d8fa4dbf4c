"""``python -m tests.benchmarks.mark_cost``: what the pattern watermark costs beside the rest of writing a picture.

Drawn scenes of three sizes. Mark: embed it and find it again. Write: encode with XMP, read the origin back, put the file on
the disk. Timed in turn, picture by picture, in rounds; what is told are medians over the rounds. Beside it, what the carried
pair takes to make a picture: of 64 px, which no mark fits into, so its share is that of a mark in the next larger size.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from curation.sample.scene_captions import sample_prompts
from pangu.diffusers_generator import load_generator
from pangu.generation_request import GenerationRequest, row_seed
from pangu.provenance import OriginMark, encode_picture, read_origin
from pangu.watermark import make_watermark
from ray_jobs.job_configs import SAMPLE_MODELS
from tests.benchmarks.interleaved import ROUNDS, machine, pinned_threads
from tests.pangu.damaged_pictures import drawn_pictures

SIDES_PX = (256, 512, 1024)
FORMATS = ("png", "jpg")
MARK = OriginMark("PanGu-Draw", "0" * 64)
Seconds = dict[str, float]


def cost(pictures: list[np.ndarray], folder: Path) -> Seconds:
    """Seconds a picture for each step: median over the rounds of the mean over the pictures."""
    rounds = [one_round(pictures, folder) for _ in range(ROUNDS + 1)][1:]  # the first warms up
    return {step: statistics.median(spent[step] for spent in rounds) / len(pictures) for step in rounds[0]}


def one_round(pictures: list[np.ndarray], folder: Path) -> Seconds:
    """Seconds of each step over all pictures."""
    watermark = make_watermark("pattern")
    assert watermark is not None
    spent: Seconds = {"embed": 0.0, "find": 0.0} | dict.fromkeys(FORMATS, 0.0)
    for number, picture in enumerate(pictures):
        with added_to(spent, "embed"):
            marked = watermark.embed(picture)
        with added_to(spent, "find"):
            assert watermark.is_found(marked)
        for encode_format in FORMATS:
            with added_to(spent, encode_format):
                data = encode_picture(Image.fromarray(marked), encode_format, mark=MARK)
                assert read_origin(data) == MARK
                (folder / f"{number}.{encode_format}").write_bytes(data)
    return spent


@contextmanager
def added_to(spent: Seconds, step: str) -> Iterator[None]:
    """Add the seconds that the block takes."""
    started = time.perf_counter()
    yield
    spent[step] += time.perf_counter() - started


def generation_s(count: int, steps: int) -> float:
    """Seconds a picture of the carried pair in full batches: median over the rounds."""
    generator = load_generator(SAMPLE_MODELS / "experts", rows_per_batch=16)
    requests = [
        GenerationRequest(
            key=prompt.prompt_id, prompt=prompt.prompt, seed=row_seed(prompt.prompt_id, 0, 0), steps=steps, guidance=3.0
        )
        for prompt in sample_prompts(count)
    ]
    times = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        assert len(generator.generate(requests)) == count
        times.append(time.perf_counter() - started)
    return statistics.median(times) / count


def line(side_px: int, count: int, spent: Seconds, make_s: float) -> str:
    """A row of the table; milliseconds, then the mark's share of mark and write, and of all three."""
    mark_s = spent["embed"] + spent["find"]
    cells = [f"{1000 * each:.1f}" for each in spent.values()]
    cells += [f"{mark_s / (mark_s + spent[encode_format]):.0%}" for encode_format in FORMATS]
    whole_s = mark_s + spent["png"] + make_s
    return f"| {side_px} | {count} | {' | '.join(cells)} | {mark_s / whole_s:.0%} |"


def main(arguments: list[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.mark_cost", description=__doc__)
    parser.add_argument("--count", type=int, default=12, help="pictures of each size")
    parser.add_argument("--steps", type=int, default=12, help="of the carried pair")
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(1)
    with pinned_threads(), tempfile.TemporaryDirectory(prefix="mark-cost-") as name:
        make_s = generation_s(16, chosen.steps)
        sys.stdout.write("| px | n | embed, ms | find, ms | png, ms | jpg, ms | of png | of jpg | of all, png |\n")
        sys.stdout.write("|---" * 9 + "|\n")
        for side_px in SIDES_PX:
            spent = cost(list(drawn_pictures(chosen.count, side_px)), Path(name))
            sys.stdout.write(line(side_px, chosen.count, spent, make_s) + "\n")
    sys.stdout.write(f"\ncarried pair, 64 px, {chosen.steps} steps: {1000 * make_s:.0f} ms a picture\n{machine()}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
