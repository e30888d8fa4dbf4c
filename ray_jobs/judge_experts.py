"""Measures an expert pair on drawn scenes by the independent judge: figures.json, report.md and picture grids.

``python -m ray_jobs.judge_experts --experts FOLDER --output FOLDER``. Every figure stands beside a control (the same
pictures against other rows' prompts) and two ceilings (the same scenes drawn, and drawn and sent through the pair's VAE).
Then: the pair against its structure expert alone, each style from scale 0 to 6, and the main figures at other guidance.
"""

import argparse
import time
from pathlib import Path

from curation.sample.scene_judge import SceneJudge
from curation.sample.scenes import Scene
from pangu.evaluation.features import FeatureExtractor
from pangu.pipeline import load_experts
from ray_jobs.job_configs import SAMPLE_MODELS, digest_of_path
from ray_jobs.judge_figures import JudgeReport, JudgeSettings
from ray_jobs.judge_measures import (
    STYLE_CLASS,
    Judging,
    compare_with_structure,
    judge_guidance,
    judge_pair,
    judged_prompts,
    sweep_style,
)
from ray_jobs.judge_report import write_report
from ray_jobs.long_command import Say, run_command


def run(
    experts: Path, output: Path, settings: JudgeSettings, *, judge: Path, extractor: FeatureExtractor | None, say: Say
) -> JudgeReport:
    """Measure and write; `extractor` None leaves the comparison with the structure expert out."""
    pipeline = load_experts(experts)
    prompts = judged_prompts(settings.prompts, settings.seed)
    scenes = [Scene.from_json(prompt.attributes) for prompt in prompts]
    judging = Judging(pipeline, SceneJudge.load(judge), settings, prompts, scenes, say, {})
    report = JudgeReport(experts=pipeline.card.digests, judge=digest_of_path(judge), settings=settings)
    started = time.monotonic()
    output.mkdir(parents=True, exist_ok=True)

    def write() -> None:
        report.seconds = round(time.monotonic() - started, 1)
        write_report(report, judging.prompts, judging.pictures, output)

    judge_guidance(judging, report)
    judge_pair(judging, report)
    write()
    if extractor is not None:
        compare_with_structure(judging, report, extractor)
        write()
    if settings.sweep_prompts:
        for style in settings.sweep_styles:
            report.trends.append(sweep_style(judging, style))
            write()
    say(f"written: {output}")
    return report


def main() -> None:
    """Parse, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experts", type=Path, default=SAMPLE_MODELS / "experts")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--judge", type=Path, default=SAMPLE_MODELS / "judge")
    for name in ("prompts", "steps", "seed", "sweep_prompts", "references_per_prompt", "rows_per_batch"):
        default = JudgeSettings.model_fields[name].default
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=default)
    for name in ("guidance", "style_scale"):
        parser.add_argument(f"--{name.replace('_', '-')}", type=float, default=JudgeSettings.model_fields[name].default)
    parser.add_argument("--guidances", type=float, nargs="*", default=(), help="main figures at these guidances too")
    parser.add_argument("--sweep-styles", nargs="*", choices=tuple(STYLE_CLASS), default=tuple(STYLE_CLASS))
    parser.add_argument("--mobilenet", type=Path, help="MobileNetV2 weights for KID; an untrained network without")
    parser.add_argument("--no-comparison", action="store_true", help="leave the structure expert alone out")
    run_command(parser, measure)


def measure(chosen: argparse.Namespace, say: Say) -> None:
    """What the command line asks for."""
    settings = JudgeSettings.model_validate({n: v for n, v in vars(chosen).items() if n in JudgeSettings.model_fields})
    extractor = None if chosen.no_comparison else kid_features(chosen.mobilenet)
    run(chosen.experts, chosen.output, settings, judge=chosen.judge, extractor=extractor, say=say)


def kid_features(mobilenet: Path | None) -> FeatureExtractor:
    """The feature network of KID, which is never the scorer's."""
    from pangu.evaluation.mobilenet_features import MobileNetFeatures
    from pangu.evaluation.random_features import RandomFeatures

    return RandomFeatures() if mobilenet is None else MobileNetFeatures(mobilenet)


if __name__ == "__main__":
    main()
