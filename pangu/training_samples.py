"""Batch sources: latents held in memory, or pictures drawn on the fly."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pangu.autoencoder import UInt8Images, encode_pixels, to_pixels
from pangu.batches import BatchPlan, TrainBatch, choose_caption, rank_rows
from pangu.denoiser import Conditioning
from pangu.text_encoder import TextEncoder, TextFeatures


@dataclass(frozen=True)
class LatentSample:
    """One training picture: latents (C, h, w), unit variance, its bucket row, and its captions with any style prefix."""

    latents: Tensor
    bucket: int
    captions: tuple[str, ...]


_CHUNK = 4096  # captions encoded at a time: the whole in float32 would be the largest thing in memory


class CaptionTable:
    """Features of distinct captions, computed once and kept in half the memory of float32."""

    def __init__(self, encoder: TextEncoder, captions: Sequence[str]) -> None:
        """Encode every distinct caption.

        Raises:
            ValueError: there are no captions.
        """
        distinct = list(dict.fromkeys(captions))
        chunks = [encoder.encode(distinct[i : i + _CHUNK]) for i in range(0, max(1, len(distinct)), _CHUNK)]
        self._row = {caption: row for row, caption in enumerate(distinct)}
        self._tokens = torch.cat([chunk.tokens.half() for chunk in chunks])
        self._pooled = torch.cat([chunk.pooled for chunk in chunks])

    def features(self, captions: Sequence[str]) -> TextFeatures:
        """Features of captions that were given at the start, in order."""
        rows = torch.tensor([self._row[caption] for caption in captions])
        return TextFeatures(self._tokens[rows].float(), self._pooled[rows])


class LatentBatches:
    """A `BatchSource` over latents in memory; sample index, epoch and seed decide order and caption."""

    def __init__(
        self,
        samples: Sequence[LatentSample],
        captions: CaptionTable,
        plan: BatchPlan,
        *,
        rank: int = 0,
        num_workers: int = 1,
    ) -> None:
        """samples: in the order the plan was made from."""
        self.samples = samples
        self.captions = captions
        self.plan = plan
        self.rank = rank
        self.num_workers = num_workers

    def batch(self, step: int) -> TrainBatch:
        """See `BatchSource`."""
        planned = self.plan.at(step)
        rows = rank_rows(len(planned.samples), self.rank, self.num_workers)
        chosen = planned.samples[rows]
        weight, first_row = 1.0, rows.start
        if not chosen:  # a short batch leaves this worker idle: it runs a row that counts for nothing
            chosen, weight, first_row = planned.samples[:1], 0.0, 0
        text = self.captions.features([self._caption(planned.epoch, index) for index in chosen])
        bucket = torch.full((len(chosen),), planned.bucket)
        return TrainBatch(
            latents=torch.stack([self.samples[index].latents for index in chosen]).float(),
            conditioning=Conditioning(text.tokens, text.pooled, bucket),
            weights=torch.full((len(chosen),), weight),
            first_row=first_row,
            num_global=len(planned.samples),
            samples=chosen if weight else (),
        )

    def _caption(self, epoch: int, index: int) -> str:
        captions = self.samples[index].captions
        return captions[choose_caption(self.plan.seed, epoch, index, len(captions))]


@dataclass(frozen=True)
class DrawnBatch:
    """Pictures of one bucket, (B, H, W, 3) uint8, with a caption each."""

    images: UInt8Images
    captions: Sequence[str]
    bucket: int


class DrawnBatches:
    """A `BatchSource` that draws new pictures every step. One process only: a step's batch is one global batch."""

    def __init__(self, draw: Callable[[int], DrawnBatch], vae: Any, encoder: TextEncoder) -> None:  # noqa: ANN401
        """draw: the pictures of a step, by the step's number alone. vae: any diffusers autoencoder."""
        self.draw = draw
        self.vae = vae
        self.encoder = encoder

    @torch.no_grad()
    def batch(self, step: int) -> TrainBatch:
        """See `BatchSource`."""
        drawn = self.draw(step)
        text = self.encoder.encode(drawn.captions)
        rows = len(drawn.captions)
        return TrainBatch(
            latents=encode_pixels(self.vae, to_pixels(drawn.images)).float(),
            conditioning=Conditioning(text.tokens, text.pooled, torch.full((rows,), drawn.bucket)),
            weights=torch.ones(rows),
            first_row=0,
            num_global=rows,
            samples=tuple(range(step * rows, (step + 1) * rows)),
        )


@torch.no_grad()
def encode_samples(
    vae: Any,  # noqa: ANN401  (any diffusers autoencoder)
    pictures: Mapping[int, UInt8Images],
    captions: Mapping[int, Sequence[tuple[str, ...]]],
    *,
    batch_size: int = 64,
) -> list[LatentSample]:
    """Latents of pictures given by bucket: pictures[bucket] (N, H, W, 3) uint8, captions[bucket] N tuples.

    Raises:
        ValueError: a bucket has not as many captions as pictures.
    """
    samples: list[LatentSample] = []
    for bucket, images in sorted(pictures.items()):
        if len(images) != len(captions[bucket]):
            raise ValueError(f"captions of bucket {bucket}: got {len(captions[bucket])}, expected {len(images)}")
        for start in range(0, len(images), batch_size):
            latents = encode_pixels(vae, to_pixels(images[start : start + batch_size])).float().cpu()
            texts = captions[bucket][start : start + batch_size]
            samples += [LatentSample(z, bucket, tuple(t)) for z, t in zip(latents, texts, strict=True)]
    return samples
