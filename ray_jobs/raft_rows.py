"""The rows of a RAFT run: every candidate with its text, picture and rewards; and the prompts it works on."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from curation.sample.scene_prompts import short_prompts
from ray_jobs.enhancer_configs import RaftEnhancer
from ray_jobs.register_prompts import read_prompts

RAFT_ROWS = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False),
        pa.field("round", pa.int32()),
        pa.field("arm", pa.string()),
        pa.field("prompt_id", pa.string()),
        pa.field("prompt", pa.string()),
        pa.field("language", pa.string()),
        pa.field("attributes", pa.string()),
        pa.field("candidate", pa.int32()),
        pa.field("text", pa.string()),
        pa.field("seed", pa.int64()),
        pa.field("fault", pa.string()),
        pa.field("image", pa.struct([pa.field("bytes", pa.binary()), pa.field("path", pa.string())])),
        pa.field("image_seed", pa.int64()),
        pa.field("image_sha256", pa.string()),
        pa.field("rewards", pa.string()),
        pa.field("judge", pa.float64()),
        pa.field("total", pa.float64()),
        pa.field("is_winner", pa.bool_()),
        pa.field("reason", pa.string()),
        pa.field("expand_s", pa.float64()),
        pa.field("draw_s", pa.float64()),
        pa.field("score_s", pa.float64()),
    ]
)
"""``arm``: 'train' (a round's candidates), 'winners' (their totals, without pictures), and of the held-out prompts
'original', 'sft' and 'enhanced'. ``rewards`` is JSON; ``judge`` stands on held-out rows alone; ``fault`` is the guard's,
``reason`` that of a picture that is missing; seconds are observations."""

OBSERVED = frozenset({"image", "expand_s", "draw_s", "score_s"})

Prompt = dict[str, Any]


def read_raft_prompts(config: RaftEnhancer) -> tuple[list[Prompt], list[Prompt]]:
    """(to learn from, held out): drawn-world prompts of distinct combinations, or a file's split by the ids' hashes.

    Raises:
        ValueError: a file has too few usable prompts.
    """
    if config.prompts == "scenes":
        most = max(config.num_prompts, 240)
        held_out = short_prompts(config.num_held_out, seed=config.seed, held_out=True)
        return [vars(p) for p in short_prompts(most, seed=config.seed)], [vars(p) for p in held_out]
    rows = [row for row in read_prompts(Path(config.prompts)) if row["reason"] is None]
    rows.sort(key=lambda row: hashlib.sha256(f"{config.seed}\0{row['prompt_id']}".encode()).digest())
    if len(rows) < config.num_held_out + config.num_prompts:
        raise ValueError(
            f"prompts: {config.prompts} has {len(rows)} usable ones; accepted are at least num_held_out + num_prompts = "
            f"{config.num_held_out + config.num_prompts}"
        )
    names = ("prompt_id", "prompt", "language", "attributes")
    kept = [{name: row[name] for name in names} for row in rows]
    return kept[config.num_held_out :], kept[: config.num_held_out]


def prompts_of_round(prompts: list[Prompt], config: RaftEnhancer, number: int) -> list[Prompt]:
    """The b prompts of a round, drawn without replacement, another draw each round."""
    order = np.random.default_rng([config.seed, number]).permutation(len(prompts))
    return [prompts[place] for place in sorted(order[: config.num_prompts])]


def rows_to_expand(prompts: list[Prompt], config: RaftEnhancer, number: int, arm: str) -> list[dict[str, Any]]:
    """One row a candidate, without its text. All candidates of a prompt share their noise, and so do all arms."""
    times = config.expansions if arm == "train" else 1
    drawn = number if arm == "train" else 0
    return [
        dict.fromkeys(RAFT_ROWS.names)
        | {name: prompt[name] for name in ("prompt_id", "prompt", "language", "attributes")}
        | {
            "key": f"{number:02d}/{arm}/{prompt['prompt_id']}/{candidate}",
            "round": number,
            "arm": arm,
            "candidate": candidate,
            "seed": seed_of(config.seed, "text", drawn, prompt["prompt_id"], candidate),
            "image_seed": seed_of(config.seed, "image", drawn, prompt["prompt_id"]),
        }
        for prompt in prompts
        for candidate in range(times)
    ]


def seed_of(*parts: object) -> int:
    """A seed below 2**62 from whatever names it."""
    return int.from_bytes(hashlib.sha256(json.dumps(parts).encode()).digest()[:8], "big") >> 2
