"""publish_enhancer: the best round's model as one folder with a card; the alias of candidates moves only if it wins.

It wins where the lower bound of its held-out win rate is above one half: against the champion, if the rounds were told of
one, else against the fine-tuned model that they began with.
"""

import json
import tempfile
from pathlib import Path
from typing import Any

from pangu.raft import RoundFigures
from ray_jobs.enhancer_configs import PublishEnhancer
from ray_jobs.errors import JobError
from ray_jobs.job import JobContext
from ray_jobs.language_training import StoredModel
from ray_jobs.manifest import Manifest
from ray_jobs.versions import Versions


def run(context: JobContext[PublishEnhancer]) -> Manifest:
    """Fetch, write the card, commit, and move the alias if it wins. JobError where the round is not there."""
    rounds = context.input("raft_rounds")
    number = rounds.facts["best_round"] if context.config.round is None else context.config.round
    models = [StoredModel.from_json(model) for model in rounds.facts["models"]]
    if number >= len(models):
        raise JobError(f"publish_enhancer.round = {number}: the rounds go from 0 to {len(models) - 1}")
    figures = RoundFigures.model_validate(rounds.facts["figures"][number])
    facts = describe(rounds, figures)
    with tempfile.TemporaryDirectory(prefix="pangu-enhancer-") as name:
        folder = models[number].fetch(context.store, Path(name))
        card = json.loads((folder / "enhancer.json").read_text(encoding="utf-8"))
        card["facts"] = facts | {"note": context.config.note}
        (folder / "enhancer.json").write_text(json.dumps(card, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        (folder / "README.md").write_text(readme(facts), encoding="utf-8")
        manifest = context.commit_folder(folder, facts=facts)
    if facts["wins"]:
        Versions(context.store).promote(manifest, context.config.candidate)
    return manifest


def describe(rounds: Manifest, figures: RoundFigures) -> dict[str, Any]:
    """What the card and the manifest say."""
    champion = figures.wins_over_champion
    measured = champion or figures.wins_over_sft
    return {
        "round": figures.round,
        "stopped": rounds.facts["stopped"],
        "held_out_prompts": figures.n,
        "held_out_scorer": rounds.facts["held_out_scorer"],
        "compared_with": "the supervised model" if champion is None else "the champion",
        "win_rate": measured.model_dump(),
        "wins_over_original": figures.wins_over_original.model_dump(),
        "language_kept": figures.language_kept,
        "things_kept": figures.things_kept,
        "wins": measured.low > 0.5 and rounds.facts["stopped"] != "reward_hacked",
    }


def readme(facts: dict[str, Any]) -> str:
    """The model card in Markdown."""
    rate, plain = facts["win_rate"], facts["wins_over_original"]
    return (
        "# Prompt enhancer\n\n"
        "A causal language model that writes a short picture prompt out, with background and style. Fine-tuned on "
        f"annotated pairs, then by RAFT; this is round {facts['round']}.\n\n"
        f"Held out, {facts['held_out_prompts']} prompts, scorer '{facts['held_out_scorer']}', which gave no reward:\n\n"
        f"- win rate over {facts['compared_with']}: {rate['value']:.3f} ({rate['low']:.3f} to {rate['high']:.3f})\n"
        f"- win rate over the original prompts: {plain['value']:.3f} ({plain['low']:.3f} to {plain['high']:.3f})\n"
        f"- language kept {facts['language_kept']:.3f}, named things kept {facts['things_kept']:.3f}\n\n"
        "English and Chinese only. Words for which prompts are refused are a first fence, not a judge.\n"
    )
