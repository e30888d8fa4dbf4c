"""Fits a logistic head on frozen embeddings, and tells every picture's value by a head that did not learn from it.

Pictures that look the same, or stand in one group, are one *unit*, and a unit lies in one fold. With K folds, the
value of a picture in fold k comes from a head fitted on the other K - 1, whose regularisation was chosen on those
alone: a fit that leaves out folds j and k serves the choice for both, so this takes K (K - 1) / 2 + 2 K paths.
"""

import hashlib
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from curation.duplicates import DuplicateSettings
from curation.head_fitting import FittedHead

Matrix = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Truth = npt.NDArray[np.bool_]
Say = Callable[[str], None]

MIN_UNITS = 3
"""Units a class needs: one to learn from while one is held out and one chooses the regularisation."""
_ROWS_AT_ONCE = 512


class ProbeSettings(BaseModel):
    """`strengths` are inverse regularisations, on unit embeddings; `balance` lets both classes weigh the same."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    strengths: tuple[float, ...] = Field((0.1, 1.0, 10.0, 100.0, 1000.0), min_length=1)
    balance: bool = True


@dataclass(frozen=True)
class ProbeFit:
    """`head` learned from all pictures; `logits` (N,) are each picture's by a head that did not see its fold.

    For `logits` each fold's strength was chosen without it too: figures come from these. `scale_logits` are all at the
    `strength` of `head`, whose scale they have: its calibration comes from these.
    """

    head: FittedHead
    strength: float
    logits: Floats
    scale_logits: Floats
    strengths_of_folds: tuple[float, ...]
    loss_of_strength: dict[float, float]
    num_unconverged: int


def units_of(
    groups: Sequence[str | None],
    looks: Sequence[str],
    colours: Sequence[bytes],
    settings: DuplicateSettings | None = None,
) -> Ints:
    """(N,) unit numbers: equal group, or near in look and colour, directly or through others."""
    settings = settings or DuplicateSettings()
    parent = list(range(len(groups)))

    def root(row: int) -> int:
        while parent[row] != row:
            parent[row] = parent[parent[row]]
            row = parent[row]
        return row

    def join(one: int, other: int) -> None:
        low, high = sorted((root(one), root(other)))
        parent[high] = low

    first_of_group: dict[str, int] = {}
    for row, group in enumerate(groups):
        if group is not None:
            join(row, first_of_group.setdefault(group, row))
    if settings.max_distance is not None:
        for one, other in near_pairs(looks, colours, settings.max_distance, settings.max_colour_distance):
            join(one, other)
    return np.unique([root(row) for row in range(len(groups))], return_inverse=True)[1].astype(np.int64)


def near_pairs(
    looks: Sequence[str], colours: Sequence[bytes], max_distance: int, max_colour_distance: int
) -> list[tuple[int, int]]:
    """All pairs whose hashes and colour layouts are near; every pair of hashes is compared, a block at a time."""
    bits = np.array([int(look, 16) for look in looks], dtype=np.uint64)
    layouts = np.stack([np.frombuffer(one, np.uint8) for one in colours]).astype(np.int16)
    found: list[tuple[int, int]] = []
    for start in range(0, len(bits), _ROWS_AT_ONCE):
        block = bits[start : start + _ROWS_AT_ONCE]
        near = np.bitwise_count(block[:, None] ^ bits[None, start:]) <= max_distance
        for one, other in np.argwhere(np.triu(near, 1)):
            pair = (start + int(one), start + int(other))
            if np.abs(layouts[pair[0]] - layouts[pair[1]]).max() <= max_colour_distance:
                found.append(pair)
    return found


def assign_folds(units: Ints, is_positive: Truth, sha256s: Sequence[str], num_folds: int, seed: int) -> Ints:
    """(N,) folds. Content and seed alone decide, not names or order; both classes are spread as evenly as units allow.

    Fewer folds are made where a class has fewer units. ValueError where one has under `MIN_UNITS`, or where leaving
    two folds out would leave a class without pictures.
    """
    for name, of_class in (("the positive label", is_positive), ("the other labels", ~is_positive)):
        num_units = len(np.unique(units[of_class]))
        if num_units < MIN_UNITS:
            raise ValueError(
                f"pictures: those of {name} stand in {num_units} units (a group, or pictures that look the same); at "
                f"least {MIN_UNITS} are needed, so that some can be held out"
            )
        num_folds = min(num_folds, num_units)
    num_units = int(units.max()) + 1
    sizes = np.zeros((num_units, 2))
    np.add.at(sizes, (units, is_positive.astype(int)), 1)
    sizes /= sizes.sum(axis=0)
    digests = [""] * num_units
    for unit, sha256 in zip(units, sha256s, strict=True):
        digests[unit] = min(digests[unit] or "~", hashlib.sha256(f"{seed} {sha256}".encode()).hexdigest())
    filled, fold_of_unit = np.zeros((num_folds, 2)), np.zeros(num_units, dtype=np.int64)
    for unit in sorted(range(num_units), key=lambda unit: (-sizes[unit].max().round(9), digests[unit])):
        chosen = int((((filled + sizes[unit]) ** 2) - filled**2).sum(axis=1).argmin())
        filled[chosen] += sizes[unit]
        fold_of_unit[unit] = chosen
    folds = fold_of_unit[units]
    for pair in combinations(range(num_folds), 2):
        kept = is_positive[~np.isin(folds, pair)]
        if not kept.size or kept.all() or not kept.any():
            raise ValueError(
                "pictures: the groups are so unequal that two held-out folds leave a class without pictures; split the "
                "largest group, or leave the groups out"
            )
    return folds


def fit_probe(
    embeddings: Matrix, is_positive: Truth, folds: Ints, settings: ProbeSettings, say: Say = lambda _: None
) -> ProbeFit:
    """embeddings: (N, E) float32, L2-normalised; is_positive, folds: (N,)."""
    num_folds, strengths = int(folds.max()) + 1, sorted(settings.strengths)
    outer: dict[tuple[int, ...], list[FittedHead]] = {}
    inner: dict[tuple[int, ...], list[FittedHead]] = {}
    unconverged = 0
    for out in [*((fold,) for fold in range(num_folds)), *combinations(range(num_folds), 2)]:
        held = np.isin(folds, out)
        heads, failures = _fit_path(embeddings[~held], is_positive[~held], strengths, settings.balance)
        unconverged += failures
        (outer if len(out) == 1 else inner)[out] = heads
    say(f"fitted {len(outer) + len(inner)} splits of {num_folds} folds at {len(strengths)} strengths each")
    logits, chosen = np.zeros(len(folds)), []
    for fold in range(num_folds):
        losses = np.zeros(len(strengths))
        for other in set(range(num_folds)) - {fold}:
            heads = inner[(min(fold, other), max(fold, other))]
            losses += _losses(heads, embeddings, is_positive, folds == other, settings.balance)
        at = int(losses.argmin())
        chosen.append(strengths[at])
        held = folds == fold
        logits[held] = outer[(fold,)][at](embeddings[held])
    total = np.zeros(len(strengths))
    for fold in range(num_folds):
        total += _losses(outer[(fold,)], embeddings, is_positive, folds == fold, settings.balance)
    best = strengths[int(total.argmin())]
    scale_logits = np.zeros(len(folds))
    for fold in range(num_folds):
        scale_logits[folds == fold] = outer[(fold,)][strengths.index(best)](embeddings[folds == fold])
    heads, failures = _fit_path(embeddings, is_positive, [one for one in strengths if one <= best], settings.balance)
    return ProbeFit(
        head=heads[-1],
        strength=best,
        logits=logits,
        scale_logits=scale_logits,
        strengths_of_folds=tuple(chosen),
        loss_of_strength={one: float(loss) for one, loss in zip(strengths, total, strict=True)},
        num_unconverged=unconverged + failures,
    )


def _fit_path(
    rows: Matrix, is_positive: Truth, strengths: Sequence[float], balance: bool
) -> tuple[list[FittedHead], int]:
    """A head for each strength, each begun where the weaker one ended; and how many did not converge."""
    share = is_positive.mean()
    weights = np.where(is_positive, 0.5 / share, 0.5 / (1 - share)) if balance else np.ones(len(rows))
    model = LogisticRegression(warm_start=True, max_iter=3000, tol=1e-5)
    heads, failures = [], 0
    for strength in strengths:
        with warnings.catch_warnings(record=True) as raised:
            warnings.simplefilter("always", ConvergenceWarning)
            model.set_params(C=strength).fit(rows.astype(np.float64), is_positive, sample_weight=weights)
        failures += any(issubclass(one.category, ConvergenceWarning) for one in raised)
        heads.append(FittedHead(model.coef_.astype(np.float32), model.intercept_.astype(np.float32)))
    return heads, failures


def _losses(heads: Sequence[FittedHead], rows: Matrix, is_positive: Truth, held: Truth, balance: bool) -> Floats:
    """Each head's log loss on one held-out fold, as its part of the loss over all: classes weigh the same, or pictures."""
    truth = is_positive[held]
    share = is_positive.mean()
    weights = np.where(truth, 0.5 / share, 0.5 / (1 - share)) if balance else np.ones(len(truth))
    losses = []
    for head in heads:
        values = head(rows[held]).astype(np.float64)
        losses.append((weights * np.logaddexp(0, np.where(truth, -values, values))).sum() / len(is_positive))
    return np.array(losses)
