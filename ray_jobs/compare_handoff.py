"""Table 2 at any size: hand-off against a small picture and a second pass, plain upsampling, and the large model.

``python -m ray_jobs.compare_handoff --output FOLDER`` measures the sample pair, 32 px handed to 64 px, on drawn scenes;
``--members FILE --low NAME --high NAME --prompts FILE.txt --references FOLDER`` any members of a member file (for
example SD 1.5 and SDXL); ``--upscaler FOLDER`` or ``module:factory`` adds a super-resolution model (`pangu.upscaler`).
Every way has the same prompts, seeds and steps. Writes figures.json, report.md, grid.png and sweep.svg; the time of an
item is processor time, which other work does not lengthen.
"""

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, ConfigDict
from torch.utils.flop_counter import FlopCounterMode

from curation.clip_scorer import ClipScorer
from pangu.evaluation.clip_score import clip_scores
from pangu.evaluation.features import FeatureExtractor
from pangu.evaluation.frechet import frechet_distance_of_features
from pangu.evaluation.inception_score import inception_score
from pangu.evaluation.kernel import squared_mmd
from pangu.fusion_request import Told
from pangu.prompted_model import sample
from pangu.resolution_handoff import HandOff, hand_off, matching_timestep
from pangu.upscaler import Upscale, load_upscaler
from ray_jobs.handoff_report import write_handoff_report
from ray_jobs.handoff_stages import HandOffSettings, Stages, named_stages, sample_stages
from ray_jobs.job_configs import SAMPLE_MODELS
from ray_jobs.judge_experts import kid_features
from ray_jobs.judge_figures import Bounded, kernel_difference
from ray_jobs.long_command import Say, run_command

UInt8Image = NDArray[np.uint8]
FIRST, UPSCALER = "hand-off", "upscaler"


class WayFigures(BaseModel):
    """One way to a picture, means over the seeds. seconds, teraflops: of one item."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    way: str
    stop: float
    restart: float
    fid: float
    kid: float
    kid_by_seed: tuple[float, ...]
    inception_score: float | None
    clip: float | None
    seconds: float
    teraflops: float


class HandOffReport(BaseModel):
    """What was compared. differences: KID of the hand-off less that of each other way, by seed; together: over all seeds.

    low, high: sizes in px.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    settings: HandOffSettings
    low: tuple[int, int]
    high: tuple[int, int]
    extractor: str
    num_references: int
    ways: tuple[WayFigures, ...]
    differences: dict[str, tuple[Bounded, ...]]
    together: dict[str, Bounded]
    time_ratios: dict[str, float]
    sweep: tuple[WayFigures, ...] = ()


@dataclass(frozen=True)
class Scorers:
    """What measures pictures. clip: None for no CLIP score. reference: features (M, D)."""

    extractor: FeatureExtractor
    clip: ClipScorer | None
    reference: NDArray[np.float32]


def ways_of(stages: Stages, given: HandOffSettings) -> dict[str, HandOff | Upscale]:
    """The ways by name; the first is the paper's, the last, where there is one, another model's second pass."""
    sizes = (stages.low_size, stages.high_size)
    low = stages.low.told([Told()], stages.low_size).schedule
    high = stages.high.told([Told()], stages.high_size).schedule
    restart = given.restart
    if restart is None:
        restart = matching_timestep(given.stop, low, high, sizes)
    top = float(high.num_timesteps)
    return {
        FIRST: HandOff(given.stop, restart),
        "second pass": HandOff(0.0, restart if given.second_pass is None else given.second_pass),
        "upsampled": HandOff(0.0, 0.0),
        "large alone": HandOff(top, top),
        **({} if stages.upscale is None else {UPSCALER: stages.upscale}),
    }


def draw(stages: Stages, plan: HandOff | Upscale, given: HandOffSettings, seed: int) -> tuple[list[UInt8Image], float]:
    """Pictures of all prompts by one way, and processor seconds an item."""
    images: list[UInt8Image] = []
    started = time.process_time()
    for start in range(0, len(stages.texts), given.rows_per_batch):
        rows = range(start, min(start + given.rows_per_batch, len(stages.texts)))
        images += draw_rows(stages, plan, given, rows, [seed * 1_000_003 + row for row in rows])
    return images, (time.process_time() - started) / len(images)


def draw_rows(
    stages: Stages, plan: HandOff | Upscale, given: HandOffSettings, rows: Sequence[int], seeds: Sequence[int]
) -> list[UInt8Image]:
    """The pictures of these prompts; an upscaler's are brought to the large size, whatever its factor."""
    low, high = stages.models(rows, given.guidance)
    if isinstance(plan, HandOff):
        return list(hand_off(low, high, plan, seeds, given.steps))
    small = list(sample(low, seeds, given.steps))
    made = plan(small, [stages.texts[row] for row in rows], seeds, given.steps, given.guidance)
    size = stages.high_size[::-1]
    return [np.asarray(Image.fromarray(each).resize(size, Image.Resampling.BICUBIC)) for each in made]


def count_teraflops(stages: Stages, plan: HandOff | Upscale, given: HandOffSettings) -> float:
    """Floating-point operations of one item, in 10^12, as torch counts them."""
    with FlopCounterMode(display=False) as counter:
        draw_rows(stages, plan, given, [0], [0])
    return float(counter.get_total_flops()) / 1e12


def measure(
    name: str, plan: HandOff | Upscale, stages: Stages, given: HandOffSettings, scorers: Scorers, seeds: Sequence[int]
) -> tuple[WayFigures, list[NDArray[np.float32]], list[UInt8Image]]:
    """A way's figures, its features by seed, and its pictures of the first seed."""
    features, pictures, values = [], [], []
    for seed in seeds:
        images, seconds = draw(stages, plan, given, seed)
        found = scorers.extractor.extract(images)
        features.append(found.features)
        pictures.append(images)
        score = None if found.logits is None else inception_score(found.logits, num_splits=1)[0]
        values.append((frechet_distance_of_features(found.features, scorers.reference), score, seconds))
    clips = None
    if scorers.clip is not None:
        told = scorers.clip.embed_texts(list(stages.texts))
        clips = float(np.mean([clip_scores(scorers.clip.embed_images(images), told).mean() for images in pictures]))
    kid = tuple(squared_mmd(each, scorers.reference) for each in features)
    scores = [score for _, score, _ in values if score is not None]
    levels = plan if isinstance(plan, HandOff) else HandOff(0.0, 0.0)
    figures = WayFigures(
        way=name,
        stop=levels.stop,
        restart=levels.stop if levels.restart is None else levels.restart,
        fid=float(np.mean([value[0] for value in values])),
        kid=float(np.mean(kid)),
        kid_by_seed=kid,
        inception_score=float(np.mean(scores)) if scores else None,
        clip=clips,
        seconds=float(np.median([value[2] for value in values])),
        teraflops=count_teraflops(stages, plan, given),
    )
    return figures, features, pictures[0]


def compare(stages: Stages, given: HandOffSettings, scorers: Scorers, output: Path, say: Say) -> HandOffReport:
    """Measure every way on every seed, then the sweep on the first, and write."""
    ways: list[WayFigures] = []
    features: dict[str, list[NDArray[np.float32]]] = {}
    pictures: dict[str, list[UInt8Image]] = {}
    for name, plan in ways_of(stages, given).items():
        figures, features[name], pictures[name] = measure(name, plan, stages, given, scorers, given.seeds)
        ways.append(figures)
        say(f"{name}: KID {figures.kid:.4f}, {figures.seconds:.3f} s, {figures.teraflops:.4f} TFLOP an item")
    differences = {
        name: tuple(kernel_difference(*pair, scorers.reference) for pair in zip(features[FIRST], found, strict=True))
        for name, found in features.items()
        if name != FIRST
    }
    together = {
        name: kernel_difference(
            np.concatenate(features[FIRST]), np.concatenate(found), scorers.reference, seeds_of_each=len(given.seeds)
        )
        for name, found in features.items()
        if name != FIRST
    }
    report = HandOffReport(
        settings=given,
        low=stages.low_size,
        high=stages.high_size,
        extractor=scorers.extractor.card.label,
        num_references=len(scorers.reference),
        ways=tuple(ways),
        differences=differences,
        together=together,
        time_ratios={way.way: way.seconds / ways[0].seconds for way in ways[1:]},
    )
    write_handoff_report(report, stages.texts, pictures, output)
    swept = []
    for stop in given.sweep:
        at = ways_of(stages, given.model_copy(update={"stop": stop, "restart": None}))[FIRST]
        plan = HandOff(0.0, 0.0) if stop == 0 else at
        swept.append(measure(f"T_low {stop:g}", plan, stages, given, scorers, given.seeds[:1])[0])
        say(f"T_low {stop:g}: KID {swept[-1].kid:.4f}")
    report = report.model_copy(update={"sweep": tuple(swept)})
    write_handoff_report(report, stages.texts, pictures, output)
    return report


def main() -> None:
    """Parse, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True)
    for name in ("members", "prompts-file", "references"):
        parser.add_argument(f"--{name}", type=Path, dest=name.replace("prompts-file", "prompts"))
    parser.add_argument("--low")
    parser.add_argument("--high")
    parser.add_argument("--num-prompts", type=int, default=HandOffSettings.model_fields["prompts"].default)
    parser.add_argument("--steps", type=int, default=HandOffSettings.model_fields["steps"].default)
    parser.add_argument("--seeds", type=int, nargs="+", default=(0, 1, 2))
    parser.add_argument("--sweep", type=float, nargs="*", default=HandOffSettings.model_fields["sweep"].default)
    parser.add_argument("--stop", type=float, default=HandOffSettings.model_fields["stop"].default)
    parser.add_argument("--restart", type=float, help="the large model's first timestep; the matching one without")
    parser.add_argument("--second-pass", type=float, default=HandOffSettings.model_fields["second_pass"].default)
    parser.add_argument(
        "--mobilenet", type=Path, help="MobileNetV2 weights for FID, KID and IS; an untrained network without"
    )
    parser.add_argument("--upscaler", help="one more second pass: a diffusers upscaling folder, or module:factory")
    parser.add_argument("--clip", type=Path, default=SAMPLE_MODELS / "scorer", help="the CLIP of the CLIP score")
    run_command(parser, run)


def run(chosen: argparse.Namespace, say: Say) -> HandOffReport:
    """What the command line asks for."""
    given = HandOffSettings(
        prompts=chosen.num_prompts,
        steps=chosen.steps,
        seeds=tuple(chosen.seeds),
        sweep=tuple(chosen.sweep),
        stop=chosen.stop,
        restart=chosen.restart,
        second_pass=chosen.second_pass,
    )
    stages, references = sample_stages(given) if chosen.members is None else named_stages(chosen, given)
    if chosen.upscaler is not None:
        stages = replace(stages, upscale=load_upscaler(chosen.upscaler))
    extractor = kid_features(chosen.mobilenet)
    scorers = Scorers(extractor, ClipScorer(chosen.clip), extractor.extract(references).features)
    chosen.output.mkdir(parents=True, exist_ok=True)
    report = compare(stages, given, scorers, chosen.output, say)
    say(f"written: {chosen.output}")
    return report


if __name__ == "__main__":
    main()
