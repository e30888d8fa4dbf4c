"""The order of training samples: a pure function of (seed, epoch, sample index), whatever the number of workers.

A batch holds one bucket. Every sample appears once an epoch: a bucket's last batch may be short, and is never dropped.
Any step can be asked for directly, so resuming replays nothing and skips nothing.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import numpy as np
from torch import Tensor

from pangu.denoiser import Conditioning


@dataclass(frozen=True)
class PlannedBatch:
    """One global batch: which samples, of which bucket, in which epoch."""

    step: int
    epoch: int
    bucket: int
    samples: tuple[int, ...]


@dataclass(frozen=True)
class TrainBatch:
    """One worker's rows of a global batch.

    latents: (B, C, h, w) float32, unit variance. weights: (B,) float32, 0 for a row that only keeps an idle worker in
    step. first_row: place of the first row in the global batch of num_global rows. samples: what `weights` counts.
    """

    latents: Tensor
    conditioning: Conditioning
    weights: Tensor
    first_row: int
    num_global: int
    samples: tuple[int, ...]


class BatchSource(Protocol):
    """Random access to training batches by step."""

    def batch(self, step: int) -> TrainBatch:
        """This worker's rows of the global batch of a step, the first being 0."""
        ...


class BatchPlan:
    """Deterministic bucket batches over a fixed list of samples."""

    def __init__(self, buckets: Sequence[int], batch_size: int, seed: int) -> None:
        """buckets: bucket row of each sample. batch_size: global, over all workers.

        Raises:
            ValueError: there is no sample, or the batch size is below 1.
        """
        if not buckets:
            raise ValueError("buckets: got no sample, expected at least one")
        if batch_size < 1:
            raise ValueError(f"batch_size: got {batch_size}, expected at least 1")
        self.batch_size = batch_size
        self.seed = seed
        table = np.asarray(buckets)
        self._members = {int(bucket): np.flatnonzero(table == bucket) for bucket in np.unique(table)}
        self.steps_per_epoch = sum(-(-len(members) // batch_size) for members in self._members.values())
        self._epoch_batches = lru_cache(maxsize=2)(self._shuffle_epoch)

    def at(self, step: int) -> PlannedBatch:
        """The global batch of a step, the first being 0.

        Raises:
            ValueError: step is negative.
        """
        if step < 0:
            raise ValueError(f"step: got {step}, expected at least 0")
        epoch, index = divmod(step, self.steps_per_epoch)
        bucket, samples = self._epoch_batches(epoch)[index]
        return PlannedBatch(step, epoch, bucket, samples)

    def _shuffle_epoch(self, epoch: int) -> list[tuple[int, tuple[int, ...]]]:
        batches: list[tuple[int, tuple[int, ...]]] = []
        for bucket, members in self._members.items():
            order = np.random.default_rng([self.seed, epoch, 1, bucket]).permutation(members).tolist()
            batches += [(bucket, tuple(order[i : i + self.batch_size])) for i in range(0, len(order), self.batch_size)]
        turn = np.random.default_rng([self.seed, epoch, 0]).permutation(len(batches))
        return [batches[i] for i in turn]


def rank_rows(num_rows: int, rank: int, num_workers: int) -> slice:
    """The contiguous rows of a global batch that one of num_workers takes; together they are all rows, in order.

    Raises:
        ValueError: rank is not one of the workers.
    """
    if not 0 <= rank < num_workers:
        raise ValueError(f"rank: got {rank}, expected 0 to {num_workers - 1}")
    return slice(num_rows * rank // num_workers, num_rows * (rank + 1) // num_workers)


def choose_caption(seed: int, epoch: int, sample: int, num_captions: int) -> int:
    """Which of a sample's captions this epoch uses, uniformly, by (seed, epoch, sample) alone.

    Raises:
        ValueError: the sample has no caption.
    """
    if num_captions < 1:
        raise ValueError(f"captions: sample {sample} has none, expected at least one")
    digest = hashlib.sha256(f"{seed}/{epoch}/{sample}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % num_captions
