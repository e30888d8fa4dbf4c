"""Row 7: sampling against diffusers' own Stable Diffusion pipeline, with the same weights, noise, texts and steps.

Four pictures with guidance. The U-Net has the sample's layout at SDXL's lower widths, drawn from a seed; the pair's experts
are twice the same, so that one network can stand on the other side. diffusers' pipeline knows no class labels: its U-Net
gets them from outside, nothing else of it is changed.
"""

import copy
import functools
import json
import math
import warnings
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from curation.buckets import SAMPLE_BUCKETS
from pangu.bucket_conditioning import added_vector, bucket_sizes
from pangu.checkpoint import ExpertIdentity
from pangu.denoiser import PredictionType
from pangu.generate import Generator
from pangu.generation_request import GenerationRequest, row_noise
from pangu.networks import build_sample_autoencoder, build_unet
from pangu.pipeline import ExpertsCard, PanGuDrawPipeline, cast_networks
from pangu.text_encoder import ClipTextEncoder
from pangu.time_range import Role, TimeSplit
from ray_jobs.job_configs import SAMPLE_MODELS
from tests.benchmarks.interleaved import THREADS, BenchmarkRow, compare

BATCH, GUIDANCE, SQUARE = 4, 5.0, 5
SLACK_DB = 0.5
"""By so much two orders of the same sums in bfloat16 may differ in their distance from float32."""
WIDTHS, HEADS = (320, 640), (5, 10)
PROMPTS = [f"a {colour} ball on a table" for colour in ("red", "blue", "green", "yellow")]


def build_pair() -> PanGuDrawPipeline:
    """A pair whose experts are one and the same network."""
    torch.manual_seed(0)
    unet = build_unet("sample", block_out_channels=WIDTHS, attention_head_dim=HEADS).eval().requires_grad_(False)
    buckets = bucket_sizes(json.loads(SAMPLE_BUCKETS.to_json()))
    identities = {
        role.value: ExpertIdentity(
            role=role, time_range=TimeSplit().range_of(role), prediction_type=PredictionType.V, buckets=buckets
        )
        for role in (Role.STRUCTURE, Role.TEXTURE)
    }
    modules = {
        "structure": unet,
        "texture": unet,
        "vae": build_sample_autoencoder().eval().requires_grad_(False),
        "text_encoder": ClipTextEncoder.from_scorer(SAMPLE_MODELS / "scorer"),
    }
    return PanGuDrawPipeline.build(modules, ExpertsCard(**identities))


def in_type(dtype: torch.dtype) -> PanGuDrawPipeline:
    """A pair of its own, as `load_experts` gives it."""
    other = build_pair()
    cast_networks(other, dtype)
    return other


@dataclass
class Peer:
    """diffusers' pipeline and the class labels that its U-Net is told."""

    pipeline: Any
    labels: Tensor | None = None

    def tell(self, unet: Any, inputs: Any, settings: dict[str, Any]) -> Any:
        """A hook before each call of the U-Net."""
        assert self.labels is not None
        return inputs, settings | {"class_labels": self.labels.to(unet.dtype)}


def build_peer(pair: PanGuDrawPipeline, dtype: torch.dtype) -> Peer:
    from diffusers import StableDiffusionPipeline

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it would rather have the steps of the first Stable Diffusion
        pipeline = StableDiffusionPipeline(
            vae=copy.deepcopy(pair.vae).to(dtype),
            text_encoder=None,
            tokenizer=None,
            unet=copy.deepcopy(pair.structure).to(dtype),
            scheduler=pair.schedule.to_scheduler(pair.scheduler.config.prediction_type),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
    # the pipeline's own copy of the scheduler's config takes one step of offset, which no trailing spacing has
    pipeline.scheduler = pair.schedule.to_scheduler(pair.scheduler.config.prediction_type)
    pipeline.set_progress_bar_config(disable=True)
    peer = Peer(pipeline)
    pipeline.unet.register_forward_pre_hook(peer.tell, with_kwargs=True)
    return peer


@torch.inference_mode()
def theirs(pair: PanGuDrawPipeline, peer: Peer, requests: list[GenerationRequest], dtype: torch.dtype) -> Tensor:
    found = pair.text.encode([*PROMPTS, ""])
    height, width = pair.card.buckets[SQUARE].structure
    tokens, pooled = found.tokens[:BATCH], found.pooled[:BATCH]
    null, null_pooled = found.tokens[BATCH:].repeat(BATCH, 1, 1), found.pooled[BATCH:].repeat(BATCH, 1)
    peer.labels = added_vector(torch.cat([null_pooled, pooled]), torch.full((2 * BATCH,), SQUARE))
    noise = torch.stack([row_noise(row.seed, (8, height // 4, width // 4)) for row in requests])
    images = peer.pipeline(
        prompt_embeds=tokens.to(dtype),
        negative_prompt_embeds=null.to(dtype),
        latents=noise.to(dtype),
        num_inference_steps=requests[0].steps,
        guidance_scale=GUIDANCE,
        height=height,
        width=width,
        output_type="pt",
    ).images.float()
    return (images * 255).round() / 255  # pictures of 8 bits, as ours are


def ours(generator: Generator, requests: list[GenerationRequest]) -> Tensor:
    made = generator.generate(requests)
    return torch.stack([torch.from_numpy(each.image).permute(2, 0, 1).float() / 255 for each in made])


def decibels(first: Tensor, second: Tensor) -> float:
    """PSNR of pictures in [0, 1]."""
    error = float((first - second).square().mean())
    return math.inf if error == 0 else -10 * math.log10(error)


def check(least_db: float, exact: Tensor, mine: Tensor, peers: Tensor) -> str:
    """Both against the peer in float32; AssertionError where ours is further from it than allowed."""
    own, other = decibels(mine, exact), decibels(peers, exact)
    assert own >= least_db, (own, least_db)
    return f"to the fp32 peer: ours {own:.1f} dB, peer {other:.1f} dB"


def measure(full: bool) -> list[BenchmarkRow]:
    """Four pictures of 64 px at 3 steps, 20 with `full`."""
    torch.set_num_threads(THREADS)
    steps = 20 if full else 3
    requests = [
        GenerationRequest(key=str(n), prompt=prompt, seed=n, steps=steps, guidance=GUIDANCE, bucket=SQUARE)
        for n, prompt in enumerate(PROMPTS)
    ]
    single, half = torch.float32, torch.bfloat16
    pair = build_pair()
    peers = {dtype: build_peer(pair, dtype) for dtype in (single, half)}
    exact = theirs(pair, peers[single], requests, single)
    of_half_db = decibels(theirs(pair, peers[half], requests, half), exact)
    generators = {dtype: Generator(in_type(dtype), rows_per_batch=2 * BATCH) for dtype in (single, half)}
    rows = []
    for mine, other, target, least_db in (
        (single, single, 1.3, 50.0),
        (half, single, 5.0, of_half_db - SLACK_DB),
        (half, half, 1.6, of_half_db - SLACK_DB),
    ):
        names = [str(dtype).removeprefix("torch.") for dtype in (mine, other)]
        rows.append(
            compare(
                7,
                f"{names[0]}, {BATCH} pictures, {steps} steps",
                f"diffusers' StableDiffusionPipeline, {names[1]}",
                ours=functools.partial(ours, generators[mine], requests),
                theirs=functools.partial(theirs, pair, peers[other], requests, other),
                check=functools.partial(check, least_db, exact),
                target=target,
            )
        )
    return rows
