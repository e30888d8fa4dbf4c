"""The frame of commands that train or measure for minutes: threads, seconds before each line, errors that end them."""

import argparse
import time
from collections.abc import Callable

import torch

Say = Callable[[str], None]


def elapsed() -> Say:
    """Prints lines with the seconds since now before them."""
    started = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - started:7.0f} s  {text}", flush=True)

    return say


def run_command(parser: argparse.ArgumentParser, run: Callable[[argparse.Namespace, Say], object]) -> None:
    """Parse with `--threads`, run; a ValueError becomes the command's error, exit status 2."""
    parser.add_argument("--threads", type=int, default=1)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    try:
        run(chosen, elapsed())
    except ValueError as error:
        parser.exit(2, f"error: {error}\n")
