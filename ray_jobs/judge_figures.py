"""Figures of a judged expert pair: rates with Wilson intervals, controls, paired differences and trends."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from curation.calibration import wilson_interval
from pangu.evaluation.intervals import bootstrap_counts, percentile_interval
from pangu.evaluation.kernel import cubic_kernel

Floats = NDArray[np.float64]
NUM_RESAMPLES = 2000


class Bounded(BaseModel):
    """A value with its two-sided 95 % interval."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    value: float
    low: float
    high: float


class AspectFigure(BaseModel):
    """One aspect over `num` prompts that ask for it.

    control: the same pictures against the prompts of the other rows. drawn: the same scenes drawn; decoded: drawn and
    sent through the pair's autoencoder; both None where they were not judged.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    aspect: str
    num: int
    score: Bounded
    control: Bounded
    drawn: Bounded | None = None
    decoded: Bounded | None = None


def wilson(mean: float, num: int) -> Bounded:
    """Wilson's 95 % interval of a proportion `mean` of `num`; for means of shares in [0, 1] it errs on the wide side.

    Raises:
        ValueError: num is below 1.
    """
    if num < 1:
        raise ValueError(f"num: got {num}, expected at least 1")
    low, high = wilson_interval(mean * num, num, confidence=0.975)
    return Bounded(value=mean, low=low, high=high)


def own_scores(matrix: Floats) -> Floats:
    """The diagonal (N,) of (pictures, prompts): each picture against its own prompt, NaN where that asks nothing."""
    return np.diagonal(matrix).copy()


def shuffled_mean(matrix: Floats, chosen: NDArray[np.bool_]) -> float:
    """Mean score of the `chosen` (N,) pictures whose prompt asks, against all other rows' prompts that ask."""
    asked = ~np.isnan(own_scores(matrix)) & chosen
    others = matrix[asked].copy()
    others[np.arange(len(others)), np.flatnonzero(asked)] = np.nan
    found = others[~np.isnan(others)]
    return float(found.mean()) if len(found) else float("nan")


def aspect_figures(
    judged: Mapping[str, Floats], ceilings: Mapping[str, Mapping[str, Floats]], chosen: NDArray[np.bool_]
) -> list[AspectFigure]:
    """A figure per aspect over the `chosen` (N,) prompts.

    judged: aspect to matrix (pictures, prompts). ceilings: 'drawn' and 'decoded' to the same of those pictures.
    """
    figures = []
    for aspect, matrix in judged.items():
        own = own_scores(matrix)
        asked = ~np.isnan(own) & chosen
        num = int(asked.sum())
        if not num:
            continue
        tops = {name: wilson(float(own_scores(top[aspect])[asked].mean()), num) for name, top in ceilings.items()}
        figures.append(
            AspectFigure(
                aspect=aspect,
                num=num,
                score=wilson(float(own[asked].mean()), num),
                control=wilson(shuffled_mean(matrix, chosen), num),
                drawn=tops.get("drawn"),
                decoded=tops.get("decoded"),
            )
        )
    return figures


def paired_difference(first: Floats, second: Floats, *, seed: int = 0) -> Bounded:
    """Mean of first - second over prompts that ask, with a bootstrap over those prompts."""
    both = ~np.isnan(first) & ~np.isnan(second)
    differences = first[both] - second[both]
    counts = bootstrap_counts(len(differences), num_resamples=NUM_RESAMPLES, seed=seed)
    found = percentile_interval(float(differences.mean()), counts @ differences / len(differences))
    return Bounded(value=found.value, low=found.low, high=found.high)


def kernel_difference(
    first: NDArray[Any],
    second: NDArray[Any],
    reference: NDArray[Any],
    *,
    seed: int = 0,
    num_resamples: int = 500,
    seeds_of_each: int = 1,
) -> Bounded:
    """KID of `first` less KID of `second`, features (N, D) of the same N prompts, against `reference` (M, D).

    The bootstrap draws prompts, the same for both sets, and references; the references' own term cancels. seeds_of_each:
    rows are so many blocks, each of the same prompts with a seed of its own, and a prompt is drawn with all its seeds.
    """
    if len(first) != len(second) or len(first) % seeds_of_each:
        raise ValueError(f"features: got {len(first)} and {len(second)} rows, expected the same prompts in both")
    own = cubic_kernel(first, first) - cubic_kernel(second, second)
    cross = cubic_kernel(first, reference) - cubic_kernel(second, reference)

    def difference(prompts: Floats, references: Floats) -> Floats:
        pairs = ((prompts @ own) * prompts).sum(1) - prompts**2 @ np.diagonal(own)
        weights = prompts.sum(1) ** 2 - (prompts**2).sum(1)
        crossed = ((prompts @ cross) * references).sum(1) / (prompts.sum(1) * references.sum(1))
        found: Floats = pairs / weights - 2 * crossed
        return found

    value = difference(np.ones((1, len(first))), np.ones((1, len(reference))))[0]
    drawn = bootstrap_counts(len(first) // seeds_of_each, num_resamples=num_resamples, seed=seed)
    prompts = np.tile(drawn, (1, seeds_of_each))
    references = bootstrap_counts(len(reference), num_resamples=num_resamples, seed=seed + 1)
    found = percentile_interval(float(value), difference(prompts, references))
    return Bounded(value=found.value, low=found.low, high=found.high)


class TrendFigure(BaseModel):
    """What happens to a style's rate along its scale; every difference is paired over prompts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    style: str
    scales: list[float]
    rates: list[Bounded]
    probabilities: list[float]
    kept: dict[str, list[float]]
    rise: Bounded
    statement: str


def trend_figure(
    style: str, scales: Sequence[float], is_style: Floats, probability: Floats, kept: Mapping[str, list[float]]
) -> TrendFigure:
    """is_style, probability: (scales, prompts), 1 or the judge's probability where a picture is of the style.

    kept: aspect to its score at every scale, which says what the style costs.
    """
    rates = [wilson(float(row.mean()), len(row)) for row in is_style]
    steps = [paired_difference(after, before) for before, after in pairwise(is_style)]
    falls = [
        f"from s={scales[at]:g} to {scales[at + 1]:g} by {-step.value:.3f} (95 % of the paired change "
        f"{step.low:+.3f} to {step.high:+.3f})"
        for at, step in enumerate(steps)
        if step.value < 0
    ]
    rise = paired_difference(is_style[-1], is_style[0])
    flat = sum(step.value == 0 for step in steps)
    if falls:
        statement = f"not monotone: the {style} rate falls {'; '.join(falls)}"
    elif flat:
        statement = f"the {style} rate never falls; {len(steps) - flat} of {len(steps)} steps rise"
    else:
        statement = f"the {style} rate rises at every one of {len(steps)} steps"
    means = [float(row.mean()) for row in probability]
    if all(before < after for before, after in pairwise(means)):
        statement += "; the mean probability rises at every step"
    return TrendFigure(
        style=style,
        scales=list(scales),
        rates=rates,
        probabilities=means,
        kept=dict(kept),
        rise=rise,
        statement=statement,
    )


class JudgeSettings(BaseModel):
    """What is measured.

    prompts: three in four square, the others over all buckets. style_scale: 0 puts the asked style's prefix into the
    prompt; above 0 the prompt stays neutral and the style is a guidance branch of that scale.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompts: int = Field(96, ge=8)
    steps: int = Field(30, ge=1, le=1000)
    guidance: float = Field(3.0, ge=0, le=30)
    style_scale: float = Field(0.0, ge=0, le=30)
    seed: int = Field(0, ge=0)
    sweep_prompts: int = Field(48, ge=0)
    sweep_scales: tuple[float, ...] = (0, 1, 2, 3, 4, 5, 6)
    sweep_styles: tuple[str, ...] = ("cartoon", "aesthetic")
    guidances: tuple[float, ...] = ()
    references_per_prompt: int = Field(4, ge=0)
    rows_per_batch: int = Field(16, ge=1)


class Comparison(BaseModel):
    """The pair less its structure expert alone, paired over prompts; lower KID is better.

    likelihood: by set of pictures, the judge's mean log-probability of what was asked.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    extractor: str
    num_references: int
    aspects: dict[str, Bounded]
    likelihood: dict[str, float]
    likelihood_difference: Bounded
    kid: dict[str, float]
    kid_difference: Bounded


class JudgeReport(BaseModel):
    """Everything that `figures.json` holds; figures by language ('all', 'en', 'zh')."""

    model_config = ConfigDict(extra="forbid")

    experts: dict[str, str]
    judge: str
    settings: JudgeSettings
    seconds: float = 0.0
    pair: dict[str, list[AspectFigure]] = Field(default_factory=dict)
    structure_alone: list[AspectFigure] = Field(default_factory=list)
    comparison: Comparison | None = None
    trends: list[TrendFigure] = Field(default_factory=list)
    by_guidance: dict[str, list[AspectFigure]] = Field(default_factory=dict)
