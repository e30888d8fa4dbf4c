"""``python -m tests.benchmarks.mark_on_kid --data ../shared/data``: what the watermark does to KID, on the same pictures.

MobileNetV2's features; KID as unbiased squared kernel distance, paired 95 % intervals (`mark_effect`). `between` is the
marked against the unmarked, `on reference` what the mark adds to the number that gets published. The scale beside it: KID of
one half of the unmarked against the other, which is 0 but for chance.
"""

import argparse
import sys
import time
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from curation.sample.scene_captions import sample_prompts
from pangu.diffusers_generator import load_generator
from pangu.evaluation.features import FeatureExtractor
from pangu.evaluation.kernel import kernel_interval
from pangu.evaluation.mark_effect import mark_effect
from pangu.evaluation.mobilenet_features import MobileNetFeatures
from pangu.generation_request import GenerationRequest, row_seed
from pangu.watermark import make_watermark
from ray_jobs.job_configs import SAMPLE_MODELS
from tests.pangu.damaged_pictures import drawn_pictures, shared_pictures

WEIGHTS = Path("weights", "coral-mobilenet", "mobilenet_v2_1.0_224_int8.safetensors")
SIDE_PX = 256


def generated_pictures(count: int, steps: int) -> Iterator[np.ndarray]:
    """Pictures of the carried pair, four times enlarged to the least size that a watermark needs."""
    generator = load_generator(SAMPLE_MODELS / "experts", rows_per_batch=16)
    prompts = sample_prompts(count)
    requests = [
        GenerationRequest(
            key=prompt.prompt_id, prompt=prompt.prompt, seed=row_seed(prompt.prompt_id, 0, 0), steps=steps, guidance=3.0
        )
        for prompt in prompts
    ]
    for made in generator.generate(requests):
        yield np.asarray(Image.fromarray(made.image).resize((SIDE_PX, SIDE_PX), Image.Resampling.BICUBIC))


def line(name: str, network: FeatureExtractor, pictures: list[np.ndarray], reference: list[np.ndarray]) -> str:
    """A row of the table."""
    watermark = make_watermark("pattern")
    assert watermark is not None
    marked = [watermark.embed(picture) for picture in pictures]
    assert all(watermark.is_found(picture) for picture in marked)
    plain, held, other = (network.extract(images).features for images in (pictures, marked, reference))
    effect = mark_effect(plain, held, reference=other)
    assert effect.on_reference is not None
    chance = kernel_interval(plain[::2], plain[1::2])
    to_reference = kernel_interval(plain, other)
    cells = [f"{each.value:.5f} ({each.low:.5f} to {each.high:.5f})" for each in (effect.between, effect.on_reference)]
    cells += [f"{each.value:.4f} ({each.low:.4f} to {each.high:.4f})" for each in (to_reference, chance)]
    return f"| {name} | {len(pictures)} | {len(reference)} | {' | '.join(cells)} |"


def main(arguments: list[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.mark_on_kid", description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("..", "shared", "data"))
    parser.add_argument("--count", type=int, default=240)
    parser.add_argument("--steps", type=int, default=12)
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(1)
    network, started = MobileNetFeatures(chosen.data / WEIGHTS), time.monotonic()
    sys.stdout.write(
        "| pictures | n | reference | between | on reference | KID itself | halves |\n" + "|---" * 7 + "|\n"
    )
    scenes = list(drawn_pictures(chosen.count, SIDE_PX, seed=3))
    made = list(generated_pictures(chosen.count, chosen.steps))
    sys.stdout.write(line("the carried pair's, enlarged", network, made, scenes) + "\n")
    kinds = ("photos_coco", "photos_clothing")
    photos = list(chain(*(shared_pictures(chosen.data, kind, 2 * chosen.count) for kind in kinds)))
    photos = [photos[place] for place in np.random.default_rng(0).permutation(len(photos))]
    sys.stdout.write(line("photographs", network, photos[::2], photos[1::2]) + "\n")
    sys.stderr.write(f"{time.monotonic() - started:.0f} s\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
