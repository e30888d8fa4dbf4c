"""How surely a picture shows the thing that a short prompt asks for, by the independent scene judge."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from curation.sample.scene_judge import ATTRIBUTES
from curation.sample.scene_scores import Readings
from curation.sample.scenes import Scene

Floats = NDArray[np.float64]
_ALONE = ATTRIBUTES["axis"].index("none")


def asked_probability(readings: Readings, scenes: Sequence[Scene]) -> Floats:
    """(N,) probability that picture i shows the one group of things of scene i, whatever its background and style.

    As many of them as asked, alone in the picture; a single thing may also be either thing of a pair.
    """
    return np.array([_one(readings, row, scene) for row, scene in enumerate(scenes)])


def picture_score(readings: Readings, scenes: Sequence[Scene]) -> Floats:
    """(N,) log of: the asked thing is there, times how sure the judge is of the background it reads.

    The second factor is what makes a picture clean: where things melt into one another the judge is sure of nothing.
    """
    sure = readings["background"].max(axis=1).astype(np.float64)
    scores: Floats = np.log(np.maximum(asked_probability(readings, scenes), 1e-9)) + sure
    return scores


def _one(readings: Readings, row: int, scene: Scene) -> float:
    thing = scene.things[0]
    first = _share(readings, row, "first_kind", thing.kind) * _share(readings, row, "first_colour", thing.colour)
    alone = float(np.exp(readings["axis"][row, _ALONE]))
    found = alone * first * _share(readings, row, "count", str(thing.count))
    if thing.count > 1:
        return found
    second = _share(readings, row, "second_kind", thing.kind) * _share(readings, row, "second_colour", thing.colour)
    return found + (1 - alone) * min(1.0, first + second)


def _share(readings: Readings, row: int, attribute: str, value: str) -> float:
    return float(np.exp(readings[attribute][row, ATTRIBUTES[attribute].index(value)]))
