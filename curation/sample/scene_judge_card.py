"""What the scene judge can read, measured on unseen combinations, and the folder that carries it with its card."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from curation.sample.scene_judge import ATTRIBUTES, UNASKED, SceneJudge, judge_input
from curation.sample.scene_judge_fit import DrawnScenes, JudgeFitSettings, draw_scenes, soften, target_table
from curation.sample.scene_rules import Blob, colour_rule, find_blobs, position_rule
from curation.sample.scenes import COLOURS, HIDDEN_BY, Scene

EVALUATION_SEED = 6


@dataclass(frozen=True)
class Accuracy:
    """A share of `num` cases that came out right, beside what guessing the commonest answer reaches."""

    name: str
    material: str
    accuracy: float
    chance: float
    num: int


def judge_accuracy(
    readings: Mapping[str, NDArray[Any]], scenes: Sequence[Scene], *, material: str = "drawn"
) -> list[Accuracy]:
    """How often each attribute is read right; an attribute counts where the scene has it."""
    targets = target_table(scenes).numpy()
    found = []
    for at, (name, classes) in enumerate(ATTRIBUTES.items()):
        asked = targets[:, at] != UNASKED
        wanted = targets[asked, at]
        if len(wanted):
            right = float((readings[name][asked].argmax(1) == wanted).mean())
            commonest = float(np.bincount(wanted, minlength=len(classes)).max() / len(wanted))
            found.append(Accuracy(name, material, right, commonest, len(wanted)))
    return found


def rules_accuracy(drawn: DrawnScenes) -> list[Accuracy]:
    """How often the rules find the colours that are there, miss those that are not, and place them."""
    blobs = [find_blobs(image, scene.background) for image, scene in zip(drawn.images, drawn.scenes, strict=True)]
    cases = list(zip(blobs, drawn.scenes, strict=True))
    shown = [colour_rule(each, scene) for each, scene in cases]
    absent = [name not in each for each, scene in cases for name in _absent_colours(scene)]
    placed = [right for each, scene in cases if (right := position_rule(each, scene)) is not None]
    moved = [right for right in _positions_of_others(cases) if right is not None]
    return [
        Accuracy("asked colour found", "drawn", float(np.mean(shown)), float(1 - np.mean(absent)), len(shown)),
        Accuracy("absent colour not found", "drawn", float(np.mean(absent)), float(1 - np.mean(shown)), len(absent)),
        Accuracy("asked position found", "drawn", float(np.mean(placed)), float(np.mean(moved)), len(placed)),
    ]


def _absent_colours(scene: Scene) -> list[str]:
    shown = {thing.colour for thing in scene.things} | {HIDDEN_BY.get(scene.background, "")}
    return [name for name in COLOURS if name not in shown]


def _positions_of_others(cases: Sequence[tuple[Mapping[str, Blob], Scene]]) -> list[bool | None]:
    """Every picture against the next scene: what position reaches by chance."""
    return [position_rule(cases[at - 1][0], scene) for at, (_, scene) in enumerate(cases)]


def publish_judge(judge: SceneJudge, settings: JudgeFitSettings, folder: Path, *, num_scenes: int) -> list[Accuracy]:
    """Write weights, config, figures and card; the figures are those of the fp16 weights that were written."""
    judge.save(folder)
    judge = SceneJudge.load(folder)
    drawn = draw_scenes(num_scenes, held_out=True, seed=EVALUATION_SEED)
    inputs = judge_input(drawn.squashed(), drawn.aspects())
    figures = judge_accuracy(judge.read_input(inputs), drawn.scenes)
    softened = inputs.clone()
    softened[:, :3] = soften(inputs[:, :3], torch.Generator().manual_seed(EVALUATION_SEED))
    figures += judge_accuracy(judge.read_input(softened), drawn.scenes, material="drawn, softened")
    rules = rules_accuracy(drawn)
    facts = {
        "seed": settings.seed,
        "evaluation_seed": EVALUATION_SEED,
        "num_scenes": settings.num_scenes,
        "steps": settings.steps,
        "batch_size": settings.batch_size,
        "judge": [asdict(each) for each in figures],
        "rules": [asdict(each) for each in rules],
    }
    (folder / "figures.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    (folder / "README.md").write_text(_card(settings, figures, rules), encoding="utf-8")
    return figures + rules


def _card(settings: JudgeFitSettings, figures: Sequence[Accuracy], rules: Sequence[Accuracy]) -> str:
    head = f"""# Scene judge: reads what a drawn scene shows

A convolution network of 0.4 M parameters that reads background, style, kinds, colours, axis, count, side and size from
a picture squashed to 64 x 64 px. **Its only use is to measure generated pictures of drawn scenes.** It trains, filters,
ranks, rewards and conditions nothing; whoever lets it do so needs another judge.

- **Format**: `model.safetensors` (fp16) and `config.json`; `curation.sample.scene_judge.SceneJudge.load(folder)`.
- **Made by** `python -m ray_jobs.fit_scene_judge`, from random initialisation: {settings.steps} steps of
  {settings.batch_size} pictures, seed {settings.seed}; about ten minutes of one core.
- **Learned from** {settings.num_scenes} scenes drawn by this repository, both styles, all sample buckets, softened
  by blur, lost resolution, noise, and shifts of colour and place. No photograph, no other network, no autoencoder and no
  generated picture had any part in it.
- **Kept back**: one kind-and-colour combination in eight, by the same hash as the evaluation prompts.
- **Limits**: it knows eight kinds, eight colours and eight backgrounds, and names one of them whatever it is shown, so
  read its scores beside their control. It was trained on the drawer's own pictures: a picture that no drawer would
  make is outside what it was measured on. It does not rate beauty.

Chance is the commonest answer; for the rules, the rate on what was not asked.
"""
    lines = ["| attribute | pictures | accuracy | chance | n |", "|---|---|---|---|---|"]
    lines += [f"| {e.name} | {e.material} | {e.accuracy:.3f} | {e.chance:.3f} | {e.num} |" for e in [*figures, *rules]]
    return head + "\n## On combinations it never saw\n\n" + "\n".join(lines) + "\n"
