"""The page of the prompt enhancer: pictures before and after, curves by round, and what each round took."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from markupsafe import Markup

from pangu.evaluation.dashboard.charts import Line, Point, line_chart

Bounds = tuple[float, float, float]
"""A value with its lower and upper bound."""


@dataclass(frozen=True)
class EnhancementRound:
    """Held-out figures of one round; round 0 is the supervised model. seconds: phase -> wall time."""

    number: int
    n: int
    wins_over_sft: Bounds
    wins_over_original: Bounds
    reward_gain: Bounds
    language_kept: float
    things_kept: float
    mean_words: float
    distinct: float
    wins_over_champion: Bounds | None = None
    winners: int = 0
    seconds: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class PromptPictures:
    """A held-out prompt as it was written, after fine-tuning and after the last rounds: texts and pictures.

    A picture is None where its text was refused. scores: the held-out scorer's, in the same order.
    """

    language: str
    texts: tuple[str, str, str]
    images: tuple[bytes | None, bytes | None, bytes | None]
    scores: tuple[float | None, float | None, float | None]


@dataclass(frozen=True)
class EnhancementContent:
    """The page. scorer: what judged the held-out pictures and gave no reward. losses: of the supervised fit, by step."""

    version: str
    digest: str
    scorer: str
    why: str
    best_round: int
    rounds: tuple[EnhancementRound, ...]
    pairs: tuple[PromptPictures, ...] = ()
    losses: tuple[float, ...] = ()
    held_out_loss: tuple[float, float] | None = None


def enhancement_charts(content: EnhancementContent) -> list[tuple[str, list[tuple[str, int]], Markup]]:
    """Return (heading, legend, chart) of win rates, of what the loop chases, and of what is kept, by round."""
    rates = [("over the supervised model", "wins_over_sft"), ("over the prompts as written", "wins_over_original")]
    if all(each.wins_over_champion is not None for each in content.rounds):
        rates.append(("over the champion", "wins_over_champion"))
    kept = [
        ("language kept", "language_kept"),
        ("named things kept", "things_kept"),
        ("distinct word pairs", "distinct"),
    ]
    groups = [
        ("Win rate on held-out prompts", rates),
        ("Rewards on held-out prompts, over the supervised model", [("weighted, in spreads", "reward_gain")]),
        ("What the texts keep", kept),
    ]
    return [
        (heading, [(n, t) for t, (n, _) in enumerate(names)], _chart(content, heading, names))
        for heading, names in groups
    ]


def _chart(content: EnhancementContent, heading: str, names: list[tuple[str, str]]) -> Markup:
    lines = [
        Line(name, tuple(_point(each.number, getattr(each, field), name) for each in content.rounds), tone)
        for tone, (name, field) in enumerate(names)
    ]
    ticks = [(float(each.number), str(each.number)) for each in content.rounds]
    return line_chart(lines, title=heading, x_name="round", ticks=ticks, markers=True)


def _point(number: int, value: float | Bounds, name: str) -> Point:
    if isinstance(value, tuple):
        return Point(number, value[0], value[1], value[2], f"round {number}, {name}: {value[0]:.3f}")
    return Point(number, value, label=f"round {number}, {name}: {value:.3f}")


def phase_shares(each: EnhancementRound) -> list[tuple[str, float, int]]:
    """Return (phase, seconds, tone) of a round, for a stacked bar."""
    return [(name, spent, tone) for tone, (name, spent) in enumerate(sorted(dict(each.seconds).items()))]
