"""A Ray job with two actors that works until it is stopped, and saves where it was when asked to stop.

Usage: python actor_job.py STATE_FILE SECONDS [FAIL]
"""

import json
import signal
import sys
import time
from pathlib import Path

import ray


@ray.remote(num_cpus=0)
class Counter:
    """Counts, as an actor that holds a model would."""

    def __init__(self) -> None:
        self.total = 0

    def add(self) -> int:
        self.total += 1
        return self.total


def main() -> None:
    state_path, seconds = Path(sys.argv[1]), float(sys.argv[2])
    ray.init(logging_level="WARNING")
    name = state_path.stem
    actors = [Counter.options(name=f"{name}-{index}").remote() for index in range(2)]
    is_stopped = False

    def stop(signum: int, frame: object) -> None:
        nonlocal is_stopped
        is_stopped = True

    signal.signal(signal.SIGTERM, stop)
    deadline = time.monotonic() + seconds
    step = 0
    while time.monotonic() < deadline and not is_stopped:
        step = ray.get(actors[0].add.remote())
        print(f"step {step}", flush=True)
        time.sleep(0.5)
    state_path.write_text(json.dumps({"step": step, "was_stopped": is_stopped}))
    if not is_stopped:
        print(f"RESULT {json.dumps({'step': step})}", flush=True)


if __name__ == "__main__":
    main()
