"""The one generator, for batches and for HTTP: requests in, images out, in the same order.

Every row has its own noise, drawn on the CPU from its own seed, its own guidance and its own sampler. Networks run in one
fixed padded batch shape, so on a CPU an image does not depend, to the bit, on which requests it was generated with.

    requests -> texts -> noise -> [structure steps] -> [texture steps] -> decoder -> images
                                   each step: GuidedDenoiser -> PaddedDenoiser -> ExpertRelay, then each row's sampler
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from pangu.autoencoder import UInt8Images, decode_latents, downsampling_factor, to_uint8
from pangu.denoiser import Conditioning
from pangu.errors import RowMemoryError
from pangu.expert_relay import ExpertRelay
from pangu.generation_request import GeneratedImage, GenerationRequest, Progress, Watcher, row_noise, row_seed
from pangu.guidance import NULL, PROMPT, GuidedDenoiser, GuidedRow
from pangu.padded_batches import PaddedBatches, PaddedDenoiser, SingleRowError
from pangu.pipeline import PanGuDrawPipeline
from pangu.samplers import Sampler, SamplerName, make_sampler
from pangu.text_encoder import TextFeatures
from pangu.time_range import Role

__all__ = ["GeneratedImage", "GenerationRequest", "Generator", "row_noise", "row_seed"]

ROUNDS = 4
"""Rows that step together, in padded batches: with more of them less is padding, and more waits in memory."""


@dataclass(frozen=True)
class _Setting:
    """What rows must share to step together."""

    bucket: int
    column: Literal["structure", "texture"]
    steps: int


@dataclass
class _Row:
    """One image on its way. latents: (1, C, h, w). ruled_by: expert and guidance weights of its last step."""

    place: int
    request: GenerationRequest
    latents: Tensor
    sampler: Sampler
    ruled_by: tuple[Role, dict[str, float]] | None = None
    steps: dict[Role, int] = field(default_factory=dict)
    evaluations: dict[Role, int] = field(default_factory=dict)

    def advance(self, x0: Tensor, t: int, role: Role) -> None:
        """Take one step to the predicted x0, the sampler's memory cut where the prediction jumps."""
        weights = self.request.guidance_rule.weights_at(t, role)
        if self.ruled_by not in (None, (role, weights)):
            self.sampler.restart()
        self.ruled_by = (role, weights)
        self.latents = self.sampler.step(self.latents, x0)
        self.steps[role] = self.steps.get(role, 0) + 1
        self.evaluations[role] = self.evaluations.get(role, 0) + len(weights)


@dataclass
class _Batch:
    """Rows that step together. used: the padded sizes that their networks ran in. given_up: keys of rows left undone."""

    setting: _Setting
    rows: list[_Row]
    used: set[int] = field(default_factory=set)
    given_up: set[str] = field(default_factory=set)

    def give_up(self, keys: Collection[str]) -> bool:
        """Leave rows out from now on; whether there were any."""
        kept = [row for row in self.rows if row.request.key not in keys]
        self.given_up |= {row.request.key for row in self.rows} & set(keys)
        self.rows, were_any = kept, len(kept) < len(self.rows)
        return were_any


def _progress(batch: _Batch, x0: Tensor) -> Progress:
    taken = sum(batch.rows[0].steps.values())
    return Progress(tuple(row.request.key for row in batch.rows), taken, batch.setting.steps, x0)


class Generator:
    """Samples a pipeline. Safe for one thread at a time.

    Where memory runs out the padded batch of that size of image halves, and stays so for later calls.
    """

    def __init__(
        self, pipeline: PanGuDrawPipeline, *, rows_per_batch: int = 8, offload_inactive_expert: bool = False
    ) -> None:
        """rows_per_batch: the fixed size of a network's batch, in which an image takes one row for each of its branches; the
        decoder, where an image takes one, runs half as many.

        offload_inactive_expert: keep only the expert at work on the device; for devices too small for both.

        Raises:
            ValueError: rows_per_batch is below 1.
        """
        if rows_per_batch < 1:
            raise ValueError(f"rows_per_batch: got {rows_per_batch}, expected at least 1")
        self.pipeline = pipeline
        self.rows_per_batch = rows_per_batch
        self.offload_inactive_expert = offload_inactive_expert
        self.schedule = pipeline.schedule
        self._relay: ExpertRelay = pipeline.relay()
        self._padded: dict[tuple[str, torch.Size], PaddedBatches] = {}

    @property
    def evaluated_rows(self) -> dict[Role, int]:
        """Rows that each expert has evaluated for this generator, padding and all."""
        return dict(self._relay.rows)

    @property
    def reduced(self) -> dict[str, int]:
        """Batch sizes that memory has forced down, by work and latent size, as in `denoise 4x128x128`."""
        return {
            f"{work} {'x'.join(map(str, shape))}": batches.rows
            for (work, shape), batches in self._padded.items()
            if batches.rows < batches.first
        }

    @torch.inference_mode()
    def generate(
        self,
        requests: Sequence[GenerationRequest],
        on_step: Callable[[int], None] | None = None,
        watch: Watcher | None = None,
    ) -> list[GeneratedImage]:
        """One image a request, in order: first all structure steps of all batches, then all texture steps.

        on_step: told the timestep before each evaluation of an expert; an exception it raises ends the work.
        watch: told of each step that rows have taken; what it gives up gives no image.

        Raises:
            ValueError: a request asks for what the model does not have.
            RowMemoryError: some rows do not fit in memory even alone; it holds the images of the others.
        """
        if not requests:
            return []
        for request in requests:
            self.check(request)
        features = self._encode_texts(requests)
        batches = self._form_batches(requests)
        for role in (Role.STRUCTURE, Role.TEXTURE):
            self._bring_in(role)
            for batch in batches:
                self._run_phase(batch, role, features, on_step, watch)
        images: dict[int, GeneratedImage] = {}
        for batch in batches:
            images |= self._decode(batch)
        made = [images[place] for place in sorted(images)]
        given_up = {key for batch in batches for key in batch.given_up}
        failed = [r.key for place, r in enumerate(requests) if place not in images and r.key not in given_up]
        if failed:
            raise RowMemoryError(failed, made)
        return made

    def check(self, request: GenerationRequest) -> None:
        """Refuse what the model cannot do.

        Raises:
            ValueError: naming the field, its value and what is accepted.
        """
        card = self.pipeline.card
        if request.bucket >= len(card.buckets):
            raise ValueError(f"bucket: got {request.bucket}, expected 0 to {len(card.buckets) - 1}")
        unknown = sorted(set(request.styles) - set(card.prefixes))
        if unknown:
            raise ValueError(f"styles: got {unknown[0]!r}, expected some of {sorted(card.prefixes)}")
        if request.size is not None:
            raise ValueError(
                f"size: got {request.size}, expected none, for this model's sizes are the rows of `bucket`"
            )
        if request.guidance_interval is not None and request.guidance_interval[1] > self.schedule.num_timesteps:
            raise ValueError(
                f"guidance_interval: got {request.guidance_interval}, expected at most {self.schedule.num_timesteps}"
            )

    def texts_of(self, request: GenerationRequest) -> dict[str, str]:
        """The text of every branch that may count: `null`, `prompt` and the styles asked for."""
        styles = {name: self.pipeline.card.prefixes[name] + request.prompt for name in request.styles}
        texts = {NULL: request.negative, PROMPT: request.prompt, **styles}
        return {name: text for name, text in texts.items() if name in request.guidance_rule.branches}

    def _encode_texts(self, requests: Sequence[GenerationRequest]) -> Mapping[str, TextFeatures]:
        texts = sorted({text for request in requests for text in self.texts_of(request).values()})
        encoded = self.pipeline.text.encode(texts)
        return {
            text: TextFeatures(encoded.tokens[i : i + 1], encoded.pooled[i : i + 1]) for i, text in enumerate(texts)
        }

    def _form_batches(self, requests: Sequence[GenerationRequest]) -> list[_Batch]:
        groups: dict[_Setting, list[int]] = {}
        for place, request in enumerate(requests):
            setting = _Setting(request.bucket, request.column, request.steps)
            groups.setdefault(setting, []).append(place)
        batches: list[_Batch] = []
        width = ROUNDS * self.rows_per_batch
        for setting, places in groups.items():
            for start in range(0, len(places), width):
                rows = [self._start_row(setting, place, requests[place]) for place in places[start : start + width]]
                batches.append(_Batch(setting, rows))
        return batches

    def _start_row(self, setting: _Setting, place: int, request: GenerationRequest) -> _Row:
        height, width = getattr(self.pipeline.card.buckets[setting.bucket], setting.column)
        factor = downsampling_factor(self.pipeline.vae)
        shape = (int(self.pipeline.vae.config.latent_channels), height // factor, width // factor)
        timesteps = self.schedule.sampling_timesteps(setting.steps)
        sampler = make_sampler(request.sampler or SamplerName.DDIM, self.schedule, timesteps)
        return _Row(place, request, row_noise(request.seed, shape)[None].to(self.pipeline.vae.device), sampler)

    def _run_phase(
        self,
        batch: _Batch,
        role: Role,
        features: Mapping[str, TextFeatures],
        on_step: Callable[[int], None] | None,
        watch: Watcher | None,
    ) -> None:
        split = self.pipeline.card.split
        timesteps = [t for t in self.schedule.sampling_timesteps(batch.setting.steps) if split.expert_at(t) is role]
        while timesteps and batch.rows:
            padded = self._padded_batches("denoise", batch)
            denoise = self._guide(batch, features, PaddedDenoiser(self._relay, padded, on_step))
            try:
                while timesteps:
                    x0 = denoise(torch.cat([row.latents for row in batch.rows]), timesteps[0])
                    for number, row in enumerate(batch.rows):
                        row.advance(x0[number : number + 1], timesteps[0], role)
                    del timesteps[0]
                    if watch is not None and batch.give_up(watch(_progress(batch, x0))):
                        break  # those left are guided anew
            except SingleRowError as error:
                del batch.rows[error.row]
            batch.used |= padded.used

    @torch.inference_mode()
    def preview(self, x0: Tensor) -> UInt8Images:
        """What latents (C, h, w) look like, as (H, W, 3) uint8: one run of the decoder."""
        image: UInt8Images = to_uint8(decode_latents(self.pipeline.vae, x0[None]))[0]
        return image

    def _padded_batches(self, work: Literal["denoise", "decode"], batch: _Batch) -> PaddedBatches:
        key = (work, batch.rows[0].latents.shape[1:])
        rows = self.rows_per_batch if work == "denoise" else (self.rows_per_batch + 1) // 2
        padded = self._padded.setdefault(key, PaddedBatches(rows))
        padded.used = set()
        return padded

    def _guide(self, batch: _Batch, features: Mapping[str, TextFeatures], denoiser: PaddedDenoiser) -> GuidedDenoiser:
        texts = [self.texts_of(row.request) for row in batch.rows]
        distinct = sorted({text for of_row in texts for text in of_row.values()})
        place = {text: number for number, text in enumerate(distinct)}
        conditioning = Conditioning(
            torch.cat([features[text].tokens for text in distinct]),
            torch.cat([features[text].pooled for text in distinct]),
            torch.full((len(distinct),), batch.setting.bucket),
        ).to(self.pipeline.vae.device)
        rows = [
            GuidedRow(row.request.guidance_rule, {name: place[text] for name, text in of_row.items()})
            for row, of_row in zip(batch.rows, texts, strict=True)
        ]
        return GuidedDenoiser(denoiser, conditioning, rows, self.pipeline.card.split)

    def _decode(self, batch: _Batch) -> dict[int, GeneratedImage]:
        """The batch's images by their places in the order; rows that do not fit in memory are left out."""
        images: dict[int, GeneratedImage] = {}
        while batch.rows:
            padded = self._padded_batches("decode", batch)
            latents = torch.cat([row.latents for row in batch.rows])
            try:
                pixels = padded.run(len(latents), partial(self._decode_places, latents))
            except SingleRowError as error:
                del batch.rows[error.row]
                continue
            sizes = {"batch_rows": tuple(sorted(batch.used)), "decode_rows": tuple(sorted(padded.used))}
            for row, image in zip(batch.rows, to_uint8(pixels), strict=True):
                images[row.place] = GeneratedImage(row.request, image, row.steps, row.evaluations, **sizes)
            break
        return images

    def _decode_places(self, latents: Tensor, places: Tensor) -> Tensor:
        return decode_latents(self.pipeline.vae, latents[places.to(latents.device)])

    def _bring_in(self, role: Role) -> None:
        if not self.offload_inactive_expert:
            return
        pair = (self.pipeline.structure, self.pipeline.texture)
        active, idle = reversed(pair) if role is Role.TEXTURE else pair
        idle.to("cpu")
        active.to(self.pipeline.vae.device)  # never moved, unlike the experts
