"""The name of a Ray job, derived from what it is for."""

import hashlib
import json
import re

MAX_READABLE_CHARS = 80
DIGEST_CHARS = 16


def submission_id(*, dag_id: str, run_id: str, task_id: str, map_index: int, generation: int) -> str:
    """Return the id under which Ray knows this piece of work: the same inputs always give the same id.

    Ray refuses a second job under an id it knows, which is what makes submitting idempotent. The readable part is cut
    and cleaned for URLs and file names (Ray names a log file after it); the digest, over all five values, keeps ids
    apart that read alike.

    Raises ValueError where generation is negative.
    """
    if generation < 0:
        raise ValueError(f"generation: got {generation}, expected 0 or more")
    key = json.dumps([dag_id, run_id, task_id, map_index, generation], ensure_ascii=False)
    digest = hashlib.sha256(key.encode()).hexdigest()[:DIGEST_CHARS]
    mapped = f"-{map_index}" if map_index >= 0 else ""
    readable = re.sub(r"[^A-Za-z0-9_-]+", "-", f"{dag_id}-{task_id}{mapped}").strip("-")[:MAX_READABLE_CHARS]
    return f"{readable}-g{generation}-{digest}"
