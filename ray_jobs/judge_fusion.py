"""Does a fused picture keep what each member alone gets right? Measured on drawn scenes by the independent judge.

``python -m ray_jobs.judge_fusion --members FILE --output FOLDER --cases layout+colours edges+palette``. A case names two
members of the file by what they are told (see `TELLS`; a member of another name is given as ``name:tell``). Each scene is
drawn by the first alone, by the second alone, and fused at every weight. A member's own condition is scored by the aspects
that it is told: its solo score, the fused picture's, and as control the other member's solo pictures on the same condition.
``--joint NAME`` adds a member with both ControlNets under one joined prompt: ControlNet's own feature addition.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from curation.sample.scene_aspects import colour_caption, layout_caption, palette
from curation.sample.scene_judge import SceneJudge
from curation.sample.scene_rules import colour_rule, find_blobs
from curation.sample.scene_scores import score_scene
from curation.sample.scenes import Scene
from pangu.evaluation.intervals import bootstrap_counts, percentile_interval
from pangu.fusion_request import FusionRequest, Member, MemberRequest, fuse
from pangu.member_file import load_members
from pangu.weight_schedule import WeightSchedule
from ray_jobs.fusion_report import write_fusion_report
from ray_jobs.fusion_scenes import draw_one, edges_of, example_for, single_scene
from ray_jobs.job_configs import SAMPLE_MODELS
from ray_jobs.judge_figures import Bounded
from ray_jobs.long_command import Say, run_command

UInt8Image = NDArray[np.uint8]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Tell:
    """How a member is told a scene. aspects: what its own condition is judged by."""

    words: Callable[[Scene, int], str]
    images: Callable[[Scene, int], tuple[UInt8Image, ...]]
    aspects: tuple[str, ...]


def _layout(scene: Scene, number: int) -> str:
    return layout_caption(scene, "en" if number % 2 == 0 else "zh")


def _colours(scene: Scene, number: int) -> str:
    return colour_caption(scene, "zh" if number % 2 == 0 else "en", np.random.default_rng(number))


def _example(scene: Scene, number: int) -> tuple[UInt8Image, ...]:
    rng = np.random.default_rng([number, 5])
    return (draw_one(example_for(scene, rng), number),)


TELLS: Mapping[str, Tell] = {
    "layout": Tell(_layout, lambda scene, number: (), ("shape", "side")),
    "colours": Tell(_colours, lambda scene, number: (), ("colour", "background")),
    "shapes": Tell(_layout, lambda scene, number: (), ("shape", "side")),
    "example": Tell(lambda scene, number: "", _example, ("colour", "background", "style")),
    "edges": Tell(_layout, lambda scene, number: (edges_of(scene, number),), ("shape", "side")),
    "palette": Tell(_colours, lambda scene, number: (palette(draw_one(scene, number)),), ("colour", "background")),
}
"""English and Chinese in turn, the two members of a case never in the same language."""


class KeptFigure(BaseModel):
    """One member's own condition in one case at one weight, over n scenes.

    kept: the fused score over the solo score, bootstrap over scenes. control: the other member's solo pictures.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    member: str
    weight: float | None
    num: int
    solo: Bounded
    fused: Bounded
    control: Bounded
    kept: Bounded
    holds: bool


class CaseReport(BaseModel):
    """One pair of members. weight None in a figure: the joint member, both conditions under one prompt."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    case: str
    steps: int
    rule_colour: dict[str, float] = Field(default_factory=dict)
    figures: tuple[KeptFigure, ...]


@dataclass(frozen=True)
class JudgedCase:
    """A case with what draws it: the members' names in the file and how each is told.

    full_until, zero_from: timesteps down to which the second member has its whole weight, and from which on none.
    """

    first: str
    second: str
    tells: tuple[Tell, Tell]
    joint: str | None = None
    full_until: float = 500.0
    zero_from: float = 200.0

    @property
    def name(self) -> str:
        """As on the command line."""
        return f"{self.first}+{self.second}"


def parse_case(text: str, joint: str | None) -> JudgedCase:
    """`first+second`, each a tell's name or `member:tell`.

    Raises:
        ValueError: not two members, or an unknown tell.
    """
    sides = [side.partition(":") for side in text.split("+")]
    if len(sides) != 2:
        raise ValueError(f"cases: got {text!r}, expected first+second")
    tells = [tell or name for name, _, tell in sides]
    unknown = [tell for tell in tells if tell not in TELLS]
    if unknown:
        raise ValueError(f"cases: got {unknown[0]!r}, expected one of {', '.join(TELLS)}")
    return JudgedCase(sides[0][0], sides[1][0], (TELLS[tells[0]], TELLS[tells[1]]), joint)


def requests_of(case: JudgedCase, scenes: Sequence[Scene], weight: float | None, steps: int) -> list[FusionRequest]:
    """Every scene by the two fused; `weight` None by the joint member. A picture's seed is its number."""
    found = []
    for number, scene in enumerate(scenes):
        told = [(tell.words(scene, number), tell.images(scene, number)) for tell in case.tells]
        if weight is None:
            prompt = ", ".join(words for words, _ in told)
            images = tuple(image for _, each in told for image in each)
            parts: tuple[MemberRequest, ...] = (MemberRequest(case.joint or "", prompt, condition_images=images),)
        else:
            first = MemberRequest(case.first, told[0][0], condition_images=told[0][1])
            fading = WeightSchedule.fading(weight, full_until=case.full_until, zero_from=case.zero_from)
            parts = (first, MemberRequest(case.second, told[1][0], weight=fading, condition_images=told[1][1]))
        found.append(FusionRequest(parts, seed=number, steps=steps))
    return found


def solo_requests(case: JudgedCase, side: int, scenes: Sequence[Scene], steps: int) -> list[FusionRequest]:
    """Every scene by one of the two alone."""
    name, tell = (case.first, case.second)[side], case.tells[side]
    return [
        FusionRequest(
            (MemberRequest(name, tell.words(scene, number), condition_images=tell.images(scene, number)),),
            seed=number,
            steps=steps,
        )
        for number, scene in enumerate(scenes)
    ]


def scores_of(judge: SceneJudge, images: Sequence[UInt8Image], scenes: Sequence[Scene], tell: Tell) -> Floats:
    """(N,) share of the tell's aspects that the judge reads as asked in each picture."""
    readings = judge.read(images)
    found = []
    for number, scene in enumerate(scenes):
        scored = score_scene({name: values[number : number + 1] for name, values in readings.items()}, scene)
        found.append(np.nanmean([scored[aspect][0] for aspect in tell.aspects]))
    return np.asarray(found, np.float64)


def kept_figure(member: str, weight: float | None, solo: Floats, fused: Floats, control: Floats) -> KeptFigure:
    """A member's figures with 95 % intervals, the same resampled scenes in all of them."""
    counts = bootstrap_counts(len(solo), num_resamples=2000, seed=0)

    def bounded(value: float, resampled: Floats) -> Bounded:
        found = percentile_interval(value, resampled)
        return Bounded(value=found.value, low=found.low, high=found.high)

    def mean(values: Floats) -> Bounded:
        return bounded(float(values.mean()), counts @ values / len(values))

    floor = max(float(solo.mean()), 1e-9)
    kept = bounded(float(fused.mean()) / floor, (counts @ fused) / np.maximum(counts @ solo, 1e-9))
    fused_mean, control_mean = mean(fused), mean(control)
    return KeptFigure(
        member=member,
        weight=weight,
        num=len(solo),
        solo=mean(solo),
        fused=fused_mean,
        control=control_mean,
        kept=kept,
        holds=kept.value >= 0.9 and fused_mean.low > control_mean.value,
    )


def judge_case(
    case: JudgedCase,
    members: Mapping[str, Member],
    scenes: Sequence[Scene],
    judge: SceneJudge,
    weights: Sequence[float],
    steps: int,
    rows: int,
    say: Say,
) -> tuple[CaseReport, dict[str, list[UInt8Image]]]:
    """One case's figures, and its pictures by what drew them."""
    pictures: dict[str, list[UInt8Image]] = {}

    def drawn(name: str, requests: Sequence[FusionRequest]) -> list[UInt8Image]:
        pictures[name] = fuse(members, requests, rows_per_batch=rows)
        say(f"{case.name}: {name}, {len(requests)} pictures")
        return pictures[name]

    solo = [drawn(f"{(case.first, case.second)[n]} alone", solo_requests(case, n, scenes, steps)) for n in (0, 1)]
    asked: list[float | None] = [*weights, *([None] if case.joint else [])]
    figures = []
    for weight in asked:
        name = "feature addition" if weight is None else f"d = {weight:g}"
        together = drawn(name, requests_of(case, scenes, weight, steps))
        for side, member in enumerate((case.first, case.second)):
            tell = case.tells[side]
            own, fused, other = (
                scores_of(judge, each, scenes, tell) for each in (solo[side], together, solo[1 - side])
            )
            figures.append(kept_figure(member, weight, own, fused, other))
            say(f"  {member}: solo {own.mean():.3f}, fused {fused.mean():.3f}, control {other.mean():.3f}")
    rule = {name: rule_colour(images, scenes) for name, images in pictures.items()}
    return CaseReport(case=case.name, steps=steps, rule_colour=rule, figures=tuple(figures)), pictures


def rule_colour(images: Sequence[UInt8Image], scenes: Sequence[Scene]) -> float:
    """The exact rule's counterpart: share of pictures where the asked colour is there as a blob."""
    pairs = zip(images, scenes, strict=True)
    return float(np.mean([colour_rule(find_blobs(image, scene.background), scene) for image, scene in pairs]))


def main() -> None:
    """Parse, draw, judge, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--members", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--cases", nargs="+", default=("layout+colours",))
    parser.add_argument("--joint", help="the member with both ControlNets, for a case of two ControlNets")
    parser.add_argument("--weights", type=float, nargs="+", default=(0.3, 0.5, 0.7))
    for name, default in (("full-until", 500.0), ("zero-from", 200.0)):
        parser.add_argument(f"--{name}", type=float, default=default, help="timestep of the second member's weight")
    parser.add_argument("--scenes", type=int, default=200)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rows-per-batch", type=int, default=8)
    parser.add_argument("--judge", type=Path, default=SAMPLE_MODELS / "judge")
    run_command(parser, run)


def run(chosen: argparse.Namespace, say: Say) -> list[CaseReport]:
    """What the command line asks for; a file a case, written as soon as it is measured."""
    fading = {"full_until": chosen.full_until, "zero_from": chosen.zero_from}
    cases = [replace(parse_case(text, chosen.joint), **fading) for text in chosen.cases]
    members = load_members(chosen.members)
    judge = SceneJudge.load(chosen.judge)
    rng = np.random.default_rng(97)
    scenes = [single_scene(rng, held_out=True) for _ in range(chosen.scenes)]
    chosen.output.mkdir(parents=True, exist_ok=True)
    reports = []
    for case in cases:
        report, pictures = judge_case(
            case, members, scenes, judge, chosen.weights, chosen.steps, chosen.rows_per_batch, say
        )
        write_fusion_report(report, pictures, chosen.output)
        reports.append(report)
    return reports


if __name__ == "__main__":
    main()
