"""From the rows of a RAFT run to its figures: winners of a round, and what the held-out prompts say."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pangu.prompt_guard import count_words, distinct_share, lost_things, text_language
from pangu.raft import (
    NO_WINNER,
    ArmTable,
    Bounds,
    RoundFigures,
    pick_winners,
    reward_gain,
    total_rewards,
    win_rate,
)
from ray_jobs.enhancer_configs import RaftEnhancer

Row = Mapping[str, Any]
Floats = NDArray[np.float64]
NOT_DRAWN = -1e9
"""Score of a held-out text that may not be drawn: it loses against every picture."""


def winners_of(rows: Sequence[Row], config: RaftEnhancer) -> list[dict[str, Any]]:
    """The candidates of a round with `total` and `is_winner`, in key order; pictures are left where they are."""
    ordered = sorted(rows, key=lambda row: (row["prompt_id"], row["candidate"]))
    shape = (len(ordered) // config.expansions, config.expansions)
    usable = np.array([row["fault"] is None and row["rewards"] is not None for row in ordered]).reshape(shape)
    found = [json.loads(row["rewards"]) if row["rewards"] else {} for row in ordered]
    rewards = {name: np.array([each.get(name, np.nan) for each in found]).reshape(shape) for name in config.weights}
    totals = total_rewards(rewards, config.weights, usable)
    best = pick_winners(totals)
    return [
        dict(row)
        | {
            "key": row["key"].replace("/train/", "/winners/"),
            "arm": "winners",
            "image": None,
            "total": None if np.isnan(totals.flat[place]) else float(totals.flat[place]),
            "is_winner": bool(best[place // shape[1]] == place % shape[1] != NO_WINNER),
        }
        for place, row in enumerate(ordered)
    ]


def arm_table(rows: Sequence[Row], config: RaftEnhancer) -> ArmTable:
    """Held-out rows of one model as columns in prompt order; NaN rewards where there is no picture."""
    ordered = sorted(rows, key=lambda row: str(row["prompt_id"]))
    found = [json.loads(row["rewards"]) if row["rewards"] else {} for row in ordered]
    return ArmTable(
        texts=[row["text"] for row in ordered],
        scores=np.array([NOT_DRAWN if row["judge"] is None else row["judge"] for row in ordered]),
        rewards={name: np.array([each.get(name, np.nan) for each in found]) for name in config.weights},
    )


def round_figures(
    number: int,
    rows: Sequence[Row],
    sft: Sequence[Row],
    original: Sequence[Row],
    config: RaftEnhancer,
    champion: Sequence[Row] = (),
    **told: Any,  # noqa: ANN401 fields of RoundFigures
) -> RoundFigures:
    """The held-out figures of one round's model against that of round 0, the original prompts and, if any, a champion."""
    ours, base, plain = (arm_table(each, config) for each in (rows, sft, original))
    ordered = sorted(rows, key=lambda row: str(row["prompt_id"]))
    drawn = ours.scores > NOT_DRAWN
    both = drawn & (base.scores > NOT_DRAWN)
    kept_language = [text_language(r["text"]) == ("zh" if r["language"] == "zh" else "en") for r in ordered]
    kept_things = [not lost_things(row["prompt"], row["text"], row["language"]) for row in ordered]
    return RoundFigures(
        round=number,
        n=len(ordered),
        wins_over_sft=Bounds.of(win_rate(ours.scores, base.scores)),
        wins_over_original=Bounds.of(win_rate(ours.scores, plain.scores)),
        wins_over_champion=Bounds.of(win_rate(ours.scores, arm_table(champion, config).scores)) if champion else None,
        reward_gain=Bounds.of(reward_gain(_at(ours, both), _at(base, both), config.weights)),
        judge_score=float(ours.scores[drawn].mean()),
        rewards={name: float(values[drawn].mean()) for name, values in ours.rewards.items()},
        language_kept=float(np.mean(kept_language)),
        things_kept=float(np.mean(kept_things)),
        usable=float(np.mean([row["fault"] is None for row in ordered])),
        mean_words=float(np.mean([count_words(text) for text in ours.texts])),
        distinct=distinct_share(ours.texts),
        **told,
    )


def _at(table: ArmTable, places: NDArray[np.bool_]) -> ArmTable:
    texts = [text for text, is_there in zip(table.texts, places, strict=True) if is_there]
    rewards = {name: values[places] for name, values in table.rewards.items()}
    return ArmTable(texts, table.scores[places], rewards)
