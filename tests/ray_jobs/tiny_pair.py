"""A pair of experts of the sample's shape with narrow random networks: the real classes, quick to sample."""

import json
from pathlib import Path

import torch

from curation.buckets import SAMPLE_BUCKETS
from pangu.bucket_conditioning import bucket_sizes
from pangu.checkpoint import ExpertIdentity
from pangu.denoiser import PredictionType
from pangu.networks import build_sample_autoencoder, build_unet
from pangu.pipeline import ExpertsCard, PanGuDrawPipeline
from pangu.text_encoder import ClipTextEncoder
from pangu.time_range import Role, TimeSplit
from ray_jobs.job_configs import PREFIXES, SAMPLE_MODELS


def write_tiny_pair(folder: Path, widths: tuple[int, int] = (32, 64), **unet: object) -> Path:
    """Save the pair with the sample scorer's text tower; narrower than (32, 64) needs `norm_num_groups` and fewer heads."""
    buckets = bucket_sizes(json.loads(SAMPLE_BUCKETS.to_json()))
    modules = {"text_encoder": ClipTextEncoder.from_scorer(SAMPLE_MODELS / "scorer")}
    identities = {}
    for seed, role in enumerate((Role.STRUCTURE, Role.TEXTURE)):
        torch.manual_seed(seed)
        modules[role.value] = build_unet("sample", block_out_channels=widths, **unet).eval()
        identities[role.value] = ExpertIdentity(
            role=role,
            time_range=TimeSplit().range_of(role),
            prediction_type=PredictionType.V,  # not the default, so that whoever forgets to carry it on is seen
            buckets=buckets,
        )
    narrow = min(32, widths[0])
    modules["vae"] = build_sample_autoencoder(
        encoder_block_out_channels=(narrow,) * 3, decoder_block_out_channels=(narrow,) * 3
    ).eval()
    PanGuDrawPipeline.build(modules, ExpertsCard(**identities, prefixes=PREFIXES)).save_pretrained(folder)
    return folder
