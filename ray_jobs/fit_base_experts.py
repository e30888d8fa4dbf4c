"""Trains the sample's base from nothing: autoencoder, shared denoiser, then the two experts, over drawn scenes.

``python -m ray_jobs.fit_base_experts --work FOLDER`` goes on from whatever the work folder holds. The text conditioning is
the sample scorer's text tower, frozen. Two hours on two cores that do other work beside it; ``--device cuda`` trains the
denoisers on an accelerator. The demo starts from what this leaves in ``sample_models``.
"""

import argparse
import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from curation.buckets import SAMPLE_BUCKETS
from curation.sample.photographs import photograph_crops
from curation.sample.scene_captions import caption_en, caption_zh, is_held_out
from curation.sample.scenes import draw, random_scene
from pangu.base_training import BasePlan, crop_pictures, identity_of, train_base, train_sample_autoencoder
from pangu.batches import BatchPlan, BatchSource, TrainBatch
from pangu.bucket_conditioning import bucket_sizes
from pangu.denoiser import PredictionType
from pangu.device import DEVICE_KINDS, select_device
from pangu.networks import build_sample_autoencoder, build_unet
from pangu.pipeline import ExpertsCard, PanGuDrawPipeline
from pangu.text_encoder import ClipTextEncoder
from pangu.time_range import Role, TimeSplit
from pangu.train_step import TrainSettings
from pangu.trainer import StepReport
from pangu.training_samples import CaptionTable, LatentBatches, LatentSample, encode_samples
from ray_jobs.job_configs import PREFIXES, SAMPLE_MODELS
from ray_jobs.long_command import Say, elapsed

SQUARE_SHARE = 0.45
DRAWN_SCALE = 2
VAE_WINDOW_PX = (32, 32)
BUCKETS = SAMPLE_BUCKETS.rows


class Pictures:
    """Training pictures at structure size by bucket, with their captions."""

    def __init__(self) -> None:
        """Start empty."""
        self.pixels: dict[int, list[np.ndarray[Any, Any]]] = defaultdict(list)
        self.captions: dict[int, list[tuple[str, ...]]] = defaultdict(list)

    def add(self, bucket: int, image: Image.Image, captions: tuple[str, ...]) -> None:
        """Shrink a picture to its bucket's structure size and keep it."""
        height, width = BUCKETS[bucket].structure
        self.pixels[bucket].append(np.asarray(image.resize((width, height), Image.Resampling.BICUBIC), np.uint8))
        self.captions[bucket].append(captions)

    def stacked(self) -> dict[int, np.ndarray[Any, Any]]:
        """(N, H, W, 3) uint8 by bucket."""
        return {bucket: np.stack(found) for bucket, found in sorted(self.pixels.items())}


def draw_pictures(num_scenes: int, seed: int) -> Pictures:
    """Scenes of combinations that no evaluation prompt uses, and the photographs, each in its bucket."""
    rng = np.random.default_rng(seed)
    shares = [SQUARE_SHARE if b.index == 5 else (1 - SQUARE_SHARE) / (len(BUCKETS) - 1) for b in BUCKETS]
    pictures = Pictures()
    made = 0
    while made < num_scenes:
        bucket = int(rng.choice(len(BUCKETS), p=shares))
        height, width = BUCKETS[bucket].structure
        scene = random_scene(rng, aspect=width / height)
        if is_held_out(scene):
            continue
        image = draw(scene, (width * DRAWN_SCALE, height * DRAWN_SCALE), made)
        told = (caption_en(scene, rng), caption_en(scene, rng), caption_zh(scene, rng), caption_zh(scene, rng))
        pictures.add(bucket, image, with_prefixes(told, "cartoon" if scene.style == "flat" else "aesthetic"))
        made += 1
    for crop in photograph_crops():
        bucket = SAMPLE_BUCKETS.assign(crop.image.height, crop.image.width)
        pictures.add(bucket, crop.image, (*crop.photograph.captions_en, *crop.photograph.captions_zh))
    return pictures


def with_prefixes(captions: tuple[str, ...], style: str) -> tuple[str, ...]:
    """Captions with the style's prefix and without, so that neutral prompts mean something too."""
    return (*(PREFIXES[style] + caption for caption in captions), *captions)


def samples_of_windows(vae: Any, pictures: Pictures, seed: int) -> list[LatentSample]:  # noqa: ANN401
    """Windows of the texture size cut from the structure pictures: small pictures whose pixel scale is right."""
    rng = np.random.default_rng(seed)
    windows = {b: crop_pictures(images, BUCKETS[b].texture, rng) for b, images in pictures.stacked().items()}
    return encode_samples(vae, windows, pictures.captions)


class AlternatingBatches:
    """Whole pictures and windows in turn: two sizes of one bucket never meet in a batch."""

    def __init__(self, sources: Sequence[BatchSource]) -> None:
        """Take the sources in the order of their turns."""
        self.sources = sources

    def batch(self, step: int) -> TrainBatch:
        """See `pangu.batches.BatchSource`."""
        turn, source = divmod(step, len(self.sources))
        return self.sources[source].batch(turn)


def main() -> None:
    """Parse, train, publish."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="checkpoints; a rerun goes on from them")
    parser.add_argument("--output", type=Path, default=SAMPLE_MODELS / "experts")
    parser.add_argument("--scorer", type=Path, default=SAMPLE_MODELS / "scorer")
    parser.add_argument("--num-scenes", type=int, default=10000)
    parser.add_argument("--vae-steps", type=int, default=2400)
    parser.add_argument("--shared-steps", type=int, default=5000)
    parser.add_argument("--branch-steps", type=int, default=3000)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", choices=DEVICE_KINDS, default="cpu")
    fit(parser.parse_args())


def fit(chosen: argparse.Namespace) -> None:
    """The three stages; each is found finished or gone on with."""
    torch.set_num_threads(chosen.threads)
    torch.backends.cuda.enable_flash_sdp(False)  # on a CPU too: its backward pass there is slow
    torch.backends.cuda.enable_mem_efficient_sdp(False)
    chosen.work.mkdir(parents=True, exist_ok=True)
    say = elapsed()
    pictures = draw_pictures(chosen.num_scenes, seed=11)
    say(f"drawn: {sum(map(len, pictures.pixels.values()))} pictures")
    device = select_device(chosen.device).torch_device
    vae = fit_autoencoder(chosen, pictures, say).to(device)
    text = ClipTextEncoder.from_scorer(chosen.scorer).to(device)
    everything = encode_samples(vae, pictures.stacked(), pictures.captions)
    windows = samples_of_windows(vae, pictures, seed=12)
    captions = CaptionTable(text, [caption for sample in everything for caption in sample.captions])
    say(f"encoded: {len(everything)} pictures, {len(windows)} windows")

    def latents(samples: list[LatentSample], seed: int) -> LatentBatches:
        return LatentBatches(samples, captions, BatchPlan([s.bucket for s in samples], chosen.batch_size, seed))

    plan = BasePlan(
        batches={
            Role.SHARED: latents(everything, 1),
            Role.STRUCTURE: latents(everything, 2),
            Role.TEXTURE: AlternatingBatches([latents(everything, 3), latents(windows, 4)]),
        },
        settings={role: settings_of(role, chosen) for role in (Role.SHARED, Role.STRUCTURE, Role.TEXTURE)},
        buckets=bucket_sizes(json.loads(SAMPLE_BUCKETS.to_json())),
        split=TimeSplit(),
        prediction_type=PredictionType.V,
        checkpoints=chosen.work / "denoisers",
    )
    losses: dict[str, list[float]] = defaultdict(list)

    def on_step(role: Role, report: StepReport) -> None:
        losses[role.value].append(report.loss)
        if report.step % 50 == 0:
            say(f"{role.value} step {report.step}: loss {np.mean(losses[role.value][-50:]):.4f}")

    torch.manual_seed(0)
    experts = train_base(build_unet("sample").to(device), text, plan, on_step)
    card = ExpertsCard(
        structure=identity_of(Role.STRUCTURE, plan),
        texture=identity_of(Role.TEXTURE, plan),
        prefixes=PREFIXES,
        training=card_facts(chosen, losses),
    )
    modules = {"structure": experts[Role.STRUCTURE], "texture": experts[Role.TEXTURE], "vae": vae, "text_encoder": text}
    pipeline = PanGuDrawPipeline.build(modules, card)
    for name in ("structure", "texture", "vae", "text_encoder"):
        getattr(pipeline, name).half()
    pipeline.save_pretrained(chosen.output)
    say(f"written: {chosen.output}")


def fit_autoencoder(chosen: argparse.Namespace, pictures: Pictures, say: Say) -> Any:  # noqa: ANN401
    """The sample autoencoder, from the work folder where it stands finished."""
    folder = chosen.work / "vae"
    if (folder / "config.json").is_file():
        return type(build_sample_autoencoder()).from_pretrained(folder).eval().requires_grad_(False)
    stacked = pictures.stacked()
    buckets = sorted(stacked)
    shares = np.array([len(stacked[bucket]) for bucket in buckets], float)

    def batch_of(step: int) -> np.ndarray[Any, Any]:
        rng = np.random.default_rng([7, step])
        found = stacked[buckets[int(rng.choice(len(buckets), p=shares / shares.sum()))]]
        rows = 16 if step < chosen.vae_steps else 200  # the last call fits the latents' scale
        return crop_pictures(found[rng.integers(0, len(found), rows)], VAE_WINDOW_PX, rng)

    def on_step(step: int, loss: float) -> None:
        if step % 200 == 0:
            say(f"autoencoder step {step}: loss {loss:.4f}")

    vae = train_sample_autoencoder(batch_of, steps=chosen.vae_steps, on_step=on_step)
    vae.save_pretrained(folder)
    return vae


def settings_of(role: Role, chosen: argparse.Namespace) -> TrainSettings:
    """Shared: the long part, at a high rate; branches: shorter, falling to nothing."""
    steps = chosen.shared_steps if role is Role.SHARED else chosen.branch_steps
    return TrainSettings(
        steps=steps,
        learning_rate=1e-3 if role is Role.SHARED else 5e-4,
        warmup_steps=100,
        decay_steps=None if role is Role.SHARED else max(1, steps - 100),
        ema_decay=0.998,
        autocast="bfloat16",
        checkpoint_every=100,
        seed={Role.SHARED: 1, Role.STRUCTURE: 2, Role.TEXTURE: 3}[role],
    )


def card_facts(
    chosen: argparse.Namespace, losses: dict[str, list[float]]
) -> dict[str, str | int | float | list[float]]:
    """What the model card says."""
    facts: dict[str, str | int | float | list[float]] = {
        "title": "Sample base pair",
        "status": "small, ours, for the offline sample: eight kinds of things before eight backgrounds at 64 px",
        "data": f"{chosen.num_scenes} drawn scenes; crops of the photographs in scikit-image and scikit-learn",
        "seeds": "11 and 12 scenes and windows, 0 first weights, 1 shared, 2 structure, 3 texture",
        "figures": "sample_models/report, by a judge that had no part in the training",
        "batch_size": chosen.batch_size,
        "shared_steps": chosen.shared_steps,
        "branch_steps": chosen.branch_steps,
    }
    return facts | {
        f"{role}_final_loss": round(float(np.mean(found[-100:])), 4) for role, found in losses.items() if found
    }


if __name__ == "__main__":
    main()
