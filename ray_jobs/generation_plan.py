"""Which pictures go into which part: rows of one shape and style together, over the whole list, so that batches are full.

Rows of a group stand in the order of their prompt ids' hashes, which is also how a prompts version is cut into parts: a
part of pictures reads few parts of prompts, and the plan does not depend on how those were cut, or in which order the
prompts came. The plan keeps 8 bytes a prompt in memory and a line a part in the store.
"""

import hashlib
from array import array
from collections import defaultdict
from collections.abc import Iterator
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict

from ray_jobs.job_configs import GenerateImages
from ray_jobs.manifest import Manifest
from ray_jobs.parts import part_name, read_part
from ray_jobs.store import Store

SQUARE_BUCKET = 5
_DECIDING = ["prompt_id", "bucket", "size", "style", "reason"]


class Group(NamedTuple):
    """What decides the shape of a batch. refused: prompts that no picture is made of."""

    bucket: int | None = None
    size: str | None = None
    style: str | None = None
    refused: bool = False


class PlannedPart(BaseModel):
    """Some rows of a group: those with prompt hashes first to last, but the first `skip`, `count` of them."""

    model_config = ConfigDict(frozen=True)

    name: str
    group: Group
    first: int
    last: int
    skip: int
    count: int


def plan_parts(store: Store, prompts: Manifest, config: GenerateImages) -> list[PlannedPart]:
    """Every prompt times every sample, in parts of about `images_per_part` rows and of whole batches."""
    hashes: dict[Group, array[int]] = defaultdict(lambda: array("Q"))
    for part in prompts.parts:
        for row in read_part(store, prompts, part.name, _DECIDING).to_pylist():
            hashes[group_of(row, config)].append(prompt_hash(row["prompt_id"]))
    samples = config.samples_per_prompt
    rows_per_part = -(-config.images_per_part // config.batch_size) * config.batch_size
    cuts: list[tuple[Group, int, int, int, int]] = []
    for group in sorted(hashes, key=repr):
        ordered = sorted(hashes[group])
        for start in range(0, len(ordered) * samples, rows_per_part):
            stop = min(start + rows_per_part, len(ordered) * samples)
            first = start // samples
            cuts.append((group, ordered[first], ordered[(stop - 1) // samples], start - first * samples, stop - start))
    names = [part_name(index, len(cuts)) for index in range(len(cuts))]
    return [
        PlannedPart(name=name, group=group, first=first, last=last, skip=skip, count=count)
        for name, (group, first, last, skip, count) in zip(names, cuts, strict=True)
    ]


def prompt_hash(prompt_id: str) -> int:
    """The first 64 bits of the id's SHA-256: what also decides a prompt's part."""
    return int.from_bytes(hashlib.sha256(prompt_id.encode()).digest()[:8], "big")


def group_of(prompt: dict[str, Any], config: GenerateImages) -> Group:
    """The group of a prompt's row. Its style counts only where it is guided by."""
    if prompt["reason"] is not None:
        return Group(refused=True)
    style = prompt["style"] if config.prompt_style_scale else None
    size = prompt.get("size")
    bucket = prompt["bucket"] if prompt["bucket"] is not None or size else SQUARE_BUCKET
    return Group(bucket, size, style)


def rows_of_part(
    store: Store, prompts: Manifest, config: GenerateImages, part: PlannedPart
) -> Iterator[tuple[dict[str, Any], int]]:
    """(prompt's row, sample index) of every row of a part, in the plan's order."""
    num = len(prompts.parts)
    wanted = (part_name(index, num) for index in range(part.first * num >> 64, (part.last * num >> 64) + 1))
    found = [
        (number, row["prompt_id"], row)
        for name in wanted
        for row in read_part(store, prompts, name).to_pylist()
        if part.first <= (number := prompt_hash(row["prompt_id"])) <= part.last and group_of(row, config) == part.group
    ]
    found.sort(key=lambda each: each[:2])
    samples = config.samples_per_prompt
    for place in range(part.skip, part.skip + part.count):
        yield found[place // samples][2], place % samples


def padding_rows(parts: list[PlannedPart], batch_size: int) -> int:
    """Rows that are sampled only to fill batches."""
    return sum(-part.count % batch_size for part in parts if not part.group.refused)
