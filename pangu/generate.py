"""The one generator, for batches and for HTTP: requests in, images out, in the same order.

Every row has its own noise, drawn on the CPU from its own seed. Rows run in one fixed padded batch shape, so on a CPU an
image does not depend, to the bit, on which requests it was generated with.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from pangu.autoencoder import UInt8Images, decode_latents, downsampling_factor, to_uint8
from pangu.denoiser import Conditioning
from pangu.expert_relay import ExpertRelay
from pangu.guidance import NULL, PROMPT, Branch, GuidedDenoiser, guidance_weights
from pangu.pipeline import PanGuDrawPipeline
from pangu.text_encoder import TextFeatures
from pangu.time_range import Role


class GenerationRequest(BaseModel):
    """One image to make.

    key: name of the row, returned with the image. negative: text in place of the empty one. bucket: row of the bucket
    table; column: which of the row's two sizes. guidance: s, 1 for none. styles: style name to s_style.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str
    prompt: str
    negative: str = ""
    seed: int = Field(ge=0, lt=2**63)
    bucket: int = Field(default=5, ge=0)
    steps: int = Field(default=40, ge=1, le=1000)
    guidance: float = Field(default=6.0, ge=0, allow_inf_nan=False)
    styles: dict[str, float] = Field(default_factory=dict)
    column: Literal["structure", "texture"] = "structure"


@dataclass(frozen=True)
class GeneratedImage:
    """A request's image, (H, W, 3) uint8 RGB."""

    request: GenerationRequest
    image: UInt8Images

    @property
    def sha256(self) -> str:
        """Digest of shape and pixels."""
        header = f"{self.image.shape[0]}x{self.image.shape[1]}:".encode()
        return hashlib.sha256(header + self.image.tobytes()).hexdigest()


@dataclass(frozen=True)
class _Setting:
    """What rows must share to run in one batch."""

    bucket: int
    column: Literal["structure", "texture"]
    steps: int
    branches: tuple[str, ...]


@dataclass
class _Batch:
    """Rows on their way from noise to latents; the last ones may be padding."""

    setting: _Setting
    places: list[int]
    rows: list[GenerationRequest]
    latents: Tensor


def row_seed(prompt_id: str, sample_index: int, run_seed: int) -> int:
    """Seed of one row, 0 <= seed < 2**63, by its own identity alone."""
    digest = hashlib.sha256(f"{run_seed}/{sample_index}/{prompt_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def row_noise(seed: int, shape: tuple[int, int, int]) -> Tensor:
    """Standard normal noise (C, h, w) float32 of one row, from a CPU generator of its own."""
    return torch.randn(shape, generator=torch.Generator("cpu").manual_seed(seed))


class Generator:
    """Samples a pipeline. Safe for one thread at a time."""

    def __init__(
        self, pipeline: PanGuDrawPipeline, *, rows_per_batch: int = 8, offload_inactive_expert: bool = False
    ) -> None:
        """rows_per_batch: the fixed batch; guidance multiplies it by the number of its branches.

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

    @torch.inference_mode()
    def generate(
        self, requests: Sequence[GenerationRequest], on_step: Callable[[int], None] | None = None
    ) -> list[GeneratedImage]:
        """One image a request, in order: first all structure steps of all batches, then all texture steps.

        on_step: told the timestep before each step of each batch; an exception it raises ends the work.

        Raises:
            ValueError: a request names a bucket or a style that the model does not have.
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
                self._run_phase(batch, role, features, on_step)
        images: dict[int, GeneratedImage] = {}
        for batch in batches:
            decoded = to_uint8(decode_latents(self.pipeline.vae, batch.latents))
            for place, request, image in zip(batch.places, batch.rows, decoded, strict=False):
                images[place] = GeneratedImage(request, image)
        return [images[place] for place in range(len(requests))]

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

    def texts_of(self, request: GenerationRequest) -> dict[str, str]:
        """The text of every branch that counts: `null`, `prompt` and the styles asked for."""
        styles = {name: self.pipeline.card.prefixes[name] + request.prompt for name in request.styles}
        texts = {NULL: request.negative, PROMPT: request.prompt, **styles}
        return {name: texts[name] for name in guidance_weights(request.guidance, request.styles)}

    def _encode_texts(self, requests: Sequence[GenerationRequest]) -> Mapping[str, TextFeatures]:
        texts = sorted({text for request in requests for text in self.texts_of(request).values()})
        encoded = self.pipeline.text.encode(texts)
        return {
            text: TextFeatures(encoded.tokens[i : i + 1], encoded.pooled[i : i + 1]) for i, text in enumerate(texts)
        }

    def _form_batches(self, requests: Sequence[GenerationRequest]) -> list[_Batch]:
        groups: dict[_Setting, list[int]] = {}
        for place, request in enumerate(requests):
            branches = tuple(sorted(self.texts_of(request)))
            setting = _Setting(request.bucket, request.column, request.steps, branches)
            groups.setdefault(setting, []).append(place)
        batches: list[_Batch] = []
        for setting, places in groups.items():
            for start in range(0, len(places), self.rows_per_batch):
                chunk = places[start : start + self.rows_per_batch]
                rows = [requests[place] for place in chunk]
                rows += [rows[-1]] * (self.rows_per_batch - len(rows))
                batches.append(_Batch(setting, chunk, rows, self._initial_noise(setting, rows)))
        return batches

    def _initial_noise(self, setting: _Setting, rows: list[GenerationRequest]) -> Tensor:
        height, width = getattr(self.pipeline.card.buckets[setting.bucket], setting.column)
        factor = downsampling_factor(self.pipeline.vae)
        shape = (int(self.pipeline.vae.config.latent_channels), height // factor, width // factor)
        noise = torch.stack([row_noise(request.seed, shape) for request in rows])
        return noise.to(self.pipeline.vae.device)

    def _run_phase(
        self,
        batch: _Batch,
        role: Role,
        features: Mapping[str, TextFeatures],
        on_step: Callable[[int], None] | None,
    ) -> None:
        timesteps = self.schedule.sampling_timesteps(batch.setting.steps)
        denoise = GuidedDenoiser(self._relay, self._branches(batch, features))
        for t, t_next in zip(timesteps, [*timesteps[1:], None], strict=True):
            if self.pipeline.card.split.expert_at(t) is not role:
                continue
            if on_step is not None:
                on_step(t)
            x0 = denoise(batch.latents, t)
            batch.latents = self.schedule.ddim_step(batch.latents, x0, t, t_next)

    def _branches(self, batch: _Batch, features: Mapping[str, TextFeatures]) -> list[Branch]:
        device = self.pipeline.vae.device
        bucket = torch.full((len(batch.rows),), batch.setting.bucket)
        branches: list[Branch] = []
        for name in batch.setting.branches:
            texts = [features[self.texts_of(request)[name]] for request in batch.rows]
            weights = [guidance_weights(request.guidance, request.styles)[name] for request in batch.rows]
            tokens, pooled = torch.cat([text.tokens for text in texts]), torch.cat([text.pooled for text in texts])
            conditioning = Conditioning(tokens, pooled, bucket).to(device)
            branches.append(Branch(conditioning, torch.from_numpy(np.asarray(weights, np.float32)).to(device)))
        return branches

    def _bring_in(self, role: Role) -> None:
        if not self.offload_inactive_expert:
            return
        device = self.pipeline.vae.device  # never moved, unlike the experts
        idle = self.pipeline.structure if role is Role.TEXTURE else self.pipeline.texture
        active = self.pipeline.texture if role is Role.TEXTURE else self.pipeline.structure
        idle.to("cpu")
        active.to(device)
