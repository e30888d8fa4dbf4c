"""Readings held against what was asked for: one score in [0, 1] per picture and aspect, NaN where a scene asks nothing.

`score_matrix` scores every picture against every prompt, so that the same numbers give the score (own prompt) and the
control (other rows' prompts).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curation.sample.scene_judge import ATTRIBUTES, UNASKED, UInt8Image, judge_targets, things_by_place
from curation.sample.scene_rules import colour_rule, find_blobs, position_rule
from curation.sample.scenes import Scene

ASPECTS = ("background", "colour", "shape", "count", "side", "relation", "position", "style")
RULED = ("rule_colour", "rule_position")
Floats = NDArray[np.float64]
Readings = Mapping[str, NDArray[Any]]
"""Log-probabilities (N, classes) by attribute, as `SceneJudge.read` gives them."""


def score_scene(readings: Readings, scene: Scene) -> dict[str, Floats]:
    """Scores (N,) of N read pictures against one scene.

    Shape and colour of two things are the mean over the things, each at its place. Count: so many things, and for a pair
    two different ones. Relation: the axis is right, and the asked order explains the reading better than the swapped one.
    Position is side or relation, whichever is asked.
    """
    targets = judge_targets(scene)
    best = {name: readings[name].argmax(1) for name in ATTRIBUTES}

    def is_right(name: str) -> Floats:
        return np.asarray(best[name] == targets[name], np.float64)

    unasked = np.full(len(best["axis"]), np.nan)
    scores = {"background": is_right("background"), "style": is_right("style")}
    if scene.relation is not None:
        scores["shape"] = (is_right("first_kind") + is_right("second_kind")) / 2
        scores["colour"] = (is_right("first_colour") + is_right("second_colour")) / 2
        scores["count"] = np.asarray(best["axis"] != 0, np.float64)
        in_order = order_evidence(readings, scene) > 0
        scores["relation"] = is_right("axis") * in_order
        return _in_order(scores | {"side": unasked, "position": scores["relation"]})
    scores["shape"], scores["colour"] = is_right("first_kind"), is_right("first_colour")
    scores["count"] = is_right("count") * (best["axis"] == 0)
    scores["side"] = is_right("side") if scene.side is not None else unasked
    return _in_order(scores | {"relation": unasked, "position": scores["side"]})


def _in_order(scores: dict[str, Floats]) -> dict[str, Floats]:
    return {name: scores[name] for name in ASPECTS}


def order_evidence(readings: Readings, scene: Scene) -> Floats:
    """Log-likelihood ratio (N,) of a pair's asked order of kinds and colours against the swapped order."""
    first, second = things_by_place(scene).things

    def evidence(one: str, other: str, attribute: str) -> Floats:
        near, far = ATTRIBUTES[f"first_{attribute}"], ATTRIBUTES[f"second_{attribute}"]
        as_first, as_second = readings[f"first_{attribute}"], readings[f"second_{attribute}"]
        straight = as_first[:, near.index(one)] + as_second[:, far.index(other)]
        return np.asarray(straight - as_first[:, near.index(other)] - as_second[:, far.index(one)], np.float64)

    return evidence(first.kind, second.kind, "kind") + evidence(first.colour, second.colour, "colour")


def log_likelihood(readings: Readings, scenes: Sequence[Scene]) -> Floats:
    """(N,) the mean log-probability, over what scene i asks, that the judge gives to it in picture i; 0 is certain.

    It tells pictures apart where all of them are right and one is plainer than another.
    """
    found = np.empty(len(scenes))
    for row, scene in enumerate(scenes):
        asked = {name: target for name, target in judge_targets(scene).items() if target != UNASKED}
        found[row] = np.mean([readings[name][row, target] for name, target in asked.items()])
    return found


def score_matrix(readings: Readings, scenes: Sequence[Scene]) -> dict[str, Floats]:
    """By aspect (pictures, scenes): row i, column j is picture i against scene j, NaN where scene j asks nothing."""
    columns = [score_scene(readings, scene) for scene in scenes]
    return {name: np.stack([column[name] for column in columns], axis=1) for name in ASPECTS}


def rule_matrix(images: Sequence[UInt8Image], scenes: Sequence[Scene]) -> dict[str, Floats]:
    """The exact rules' counterpart of `score_matrix`, for the aspects in `RULED`."""
    found = {name: np.full((len(images), len(scenes)), np.nan) for name in RULED}
    for row, image in enumerate(images):
        before = {name: find_blobs(image, name) for name in sorted({scene.background for scene in scenes})}
        for column, scene in enumerate(scenes):
            blobs = before[scene.background]
            found["rule_colour"][row, column] = colour_rule(blobs, scene)
            position = position_rule(blobs, scene)
            found["rule_position"][row, column] = np.nan if position is None else float(position)
    return found
