"""Trains the judge of generated scenes from nothing, on drawn scenes alone, and writes weights, figures and card.

``python -m ray_jobs.fit_scene_judge --work FOLDER`` goes on from whatever the work folder holds; about ten minutes of one
core. The judge only measures: no training, filtering or conditioning reads it.
"""

import argparse
from pathlib import Path

from curation.sample.scene_judge_card import publish_judge
from curation.sample.scene_judge_fit import JudgeFitSettings, fit_judge
from ray_jobs.job_configs import SAMPLE_MODELS
from ray_jobs.long_command import Say, run_command


def main() -> None:
    """Parse, train, publish."""
    defaults = JudgeFitSettings.model_fields
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="checkpoints; a rerun goes on from them")
    parser.add_argument("--output", type=Path, default=SAMPLE_MODELS / "judge")
    parser.add_argument("--num-scenes", type=int, default=defaults["num_scenes"].default)
    parser.add_argument("--steps", type=int, default=defaults["steps"].default)
    parser.add_argument("--num-evaluation-scenes", type=int, default=800)
    run_command(parser, fit)


def fit(chosen: argparse.Namespace, say: Say) -> None:
    """What the command line asks for."""
    settings = JudgeFitSettings(work_folder=chosen.work, num_scenes=chosen.num_scenes, steps=chosen.steps)
    judge = fit_judge(settings, say)
    publish_judge(judge, settings, chosen.output, num_scenes=chosen.num_evaluation_scenes)
    say(f"written: {chosen.output}")


if __name__ == "__main__":
    main()
