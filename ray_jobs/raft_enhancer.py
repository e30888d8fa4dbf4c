"""raft_enhancer: rounds of reward-ranked fine-tuning as one resumable job; every candidate, picture and reward is kept.

    rounds/00   held-out prompts as they are, and expanded by the fine-tuned model, with pictures and scores
    rounds/01   texts -> pictures and rewards -> winners -> tuned model -> held-out texts -> held-out pictures
    ...         until the held-out scorer, which rewards nothing, says stop

Every phase is a plan with parts of its own, so a killed run does again only what was not stored; what it draws, picks and
learns follows from seeds, so its winners are the same.
"""

import json
import time
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pyarrow as pa

from pangu.raft import RoundFigures, StopReason, StopRules, best_round, decide_stop
from ray_jobs.enhancer_configs import CHAMPION, RaftEnhancer
from ray_jobs.errors import AlreadyStored, JobError
from ray_jobs.job import JobContext
from ray_jobs.kill_points import kill_point
from ray_jobs.language_training import LanguageTraining, Pair, StoredModel, fit
from ray_jobs.manifest import Manifest
from ray_jobs.part_runner import run_parts
from ray_jobs.parts import PartSummary, part_name, read_rows, write_part
from ray_jobs.raft_figures import round_figures, winners_of
from ray_jobs.raft_rewards import check_held_out_scorer
from ray_jobs.raft_rows import OBSERVED, RAFT_ROWS, Prompt, prompts_of_round, read_raft_prompts, rows_to_expand
from ray_jobs.raft_workers import ExpandWorker, PictureWorker, read_texts

FIGURE_COLUMNS = [name for name in RAFT_ROWS.names if name != "image"]


def run(context: JobContext[RaftEnhancer]) -> Manifest:
    """Play the rounds and commit their rows; facts hold the figures, the models and why it stopped."""
    check_held_out_scorer(context.config)
    rounds = RaftRounds(context)
    stop = rounds.begin()
    while stop is None:
        stop = rounds.play(len(rounds.figures))
    facts = {
        "stopped": stop.name.lower(),
        "why": stop.value,
        "best_round": best_round(rounds.figures),
        "figures": [each.model_dump(mode="json") for each in rounds.figures],
        "models": [model.to_json() for model in rounds.models],
        "held_out_scorer": context.config.judge,
    }
    return context.commit_parts(rounds.summaries, facts, folder="rounds")


class RaftRounds:
    """The state of a run: models and figures by round, and the summaries of all parts so far."""

    def __init__(self, context: JobContext[RaftEnhancer]) -> None:
        """Read the prompts and find the model to start from."""
        self.context, self.config = context, context.config
        start = context.input("enhancer_sft")
        self.models = [StoredModel(f"{start.prefix}/{start.folder}", start.parts)]
        self.taught, self.held_out = read_raft_prompts(self.config)
        self.summaries: list[PartSummary] = []
        self.figures: list[RoundFigures] = []
        self.original: list[dict[str, Any]] = []
        self.sft: list[dict[str, Any]] = []
        self.champion: list[dict[str, Any]] = []
        self.rules = StopRules(patience=self.config.patience, reach=self.config.reach)

    def begin(self) -> StopReason | None:
        """Round 0: the held-out prompts as they are, and through the model to start from."""
        clock = Clock()
        self.original = self.draw(0, "original", self.held_out, None, clock)
        self.sft = self.draw(0, "sft", self.held_out, self.models[0], clock)
        champion = self.context.plan.inputs.get(CHAMPION)
        if champion is not None:
            stored = StoredModel(f"{champion.prefix}/{champion.folder}", champion.parts)
            self.champion = self.draw(0, "champion", self.held_out, stored, clock)
        return self.conclude(0, self.sft, clock)

    def play(self, number: int) -> StopReason | None:
        """One round; why the rounds end after it, or None."""
        clock = Clock()
        prompts = prompts_of_round(self.taught, self.config, number)
        candidates = self.draw(number, "train", prompts, self.models[-1], clock)
        winners = self.keep_winners(number, candidates)
        clock.lap("rank")
        model, facts = self.tune(number, winners)
        self.models.append(model)
        clock.lap("tune")
        rows = self.draw(number, "enhanced", self.held_out, model, clock)
        won = sum(row["is_winner"] for row in winners)
        return self.conclude(
            number, rows, clock, winners=won, sft_loss=facts["losses"][-1] if facts["losses"] else None
        )

    def conclude(self, number: int, rows: list[dict[str, Any]], clock: "Clock", **told: Any) -> StopReason | None:  # noqa: ANN401
        """Note the round's figures and decide."""
        seconds = {name: round(spent, 3) for name, spent in clock.laps.items()}
        self.figures.append(
            round_figures(number, rows, self.sft, self.original, self.config, self.champion, seconds=seconds, **told)
        )
        last = self.figures[-1]
        self.context.progress.report(
            number, self.config.rounds, "rounds", win_rate=last.wins_over_sft.value, reward=last.reward_gain.value
        )
        return decide_stop(self.figures, self.rules, self.config.rounds)

    def draw(
        self, number: int, arm: str, prompts: list[Prompt], model: StoredModel | None, clock: "Clock"
    ) -> list[dict[str, Any]]:
        """Texts of every prompt, then their pictures and scores; the rows without pictures."""
        rows = rows_to_expand(prompts, self.config, number, arm)
        each = self.config.prompts_per_part * (self.config.expansions if arm == "train" else 1)
        cuts = [rows[start : start + each] for start in range(0, len(rows), each)]
        names = [part_name(index, len(cuts)) for index in range(len(cuts))]
        texts = self.prefix_of(number, f"{arm}_texts")
        planned = {
            "model": None if model is None else model.to_json(),
            "rows": dict(zip(names, cuts, strict=True)),
        }
        run_parts(self.context, names, ExpandWorker, "parts", planned, prefix=texts)
        clock.lap("expand")
        pictures = self.prefix_of(number, arm)
        summaries = run_parts(
            self.context, names, PictureWorker, "parts", {"texts": texts, "arm": arm}, prefix=pictures
        )
        self.note(number, arm, summaries)
        clock.lap("draw and score")
        store = self.context.store
        return [{**row, "image": None} for name in names for row in read_texts(store, pictures, name)]

    def keep_winners(self, number: int, candidates: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Rank, and store the totals. JobError where no prompt has a candidate that may win."""
        ranked = winners_of(candidates, self.config)
        if not any(row["is_winner"] for row in ranked):
            faults = sorted({str(row["fault"] or row["reason"]) for row in ranked})
            raise JobError(f"raft_enhancer: round {number} has no candidate that may win: {'; '.join(faults[:3])}")
        table = pa.Table.from_pylist(ranked, schema=RAFT_ROWS)
        prefix = self.prefix_of(number, "winners")
        self.note(number, "winners", [write_part(self.context.store, prefix, part_name(0, 1), table, OBSERVED)])
        return ranked

    def tune(self, number: int, ranked: list[dict[str, Any]]) -> tuple[StoredModel, dict[str, Any]]:
        """Fine-tune on the winners, unless this round's model is stored."""
        store, prefix = self.context.store, self.prefix_of(number, "tuned")
        name = f"{prefix}/model.json"
        if not store.exists(name):
            model, facts = fit(self.training(number, ranked, prefix))
            kill_point("model.before_create")
            with suppress(AlreadyStored):  # another process of this run may be first: then its model counts, read below
                store.create(name, json.dumps({"model": model.to_json(), "facts": facts}).encode())
            kill_point("model.after_create")
        stored = json.loads(store.read(name))
        return StoredModel.from_json(stored["model"]), stored["facts"]

    def training(self, number: int, ranked: list[dict[str, Any]], prefix: str) -> LanguageTraining:
        """What a round's fine-tuning is built from."""
        config = self.config
        pairs: list[Pair] = [(r["prompt"], r["text"], r["language"]) for r in ranked if r["is_winner"]]
        card = json.loads(self.context.store.read(f"{self.models[0].prefix}/enhancer.json"))
        card |= {"temperature": config.temperature, "top_p": config.top_p}
        card["facts"] = {"stage": f"RAFT round {number}", "winners": len(pairs)}
        return LanguageTraining(
            store=self.context.store,
            prefix=prefix,
            name="raft_enhancer",
            start=self.models[-1],
            pairs=(*pairs, *self.replayed(number, len(pairs))),
            tuning=config.tuning,
            runtime=config.runtime,
            card=card,
            seed=config.seed + number,
            data_parallel=config.data_parallel,
        )

    def replayed(self, number: int, num_winners: int) -> list[Pair]:
        """Annotated pairs that keep the winners company, so that what was taught first is not forgotten."""
        share = self.config.replay_share
        if not share:
            return []
        found = read_rows(self.context.store, self.context.input("pairs")).to_pylist()
        kept = sorted((r for r in found if r["reason"] is None and not r["held_out"]), key=lambda r: str(r["key"]))
        wanted = round(num_winners * share / max(1 - share, 0.05))
        start = number * wanted
        chosen = [kept[(start + place) % len(kept)] for place in range(wanted)] if kept else []
        return [(row["short"], row["enriched"], row["language"]) for row in chosen]

    def note(self, number: int, arm: str, summaries: list[PartSummary]) -> None:
        """Keep the summaries for the commit, under the names that its parts have."""
        below = f"{number:02d}/{arm}/parts"
        self.summaries += [
            replace(each, part=each.part.model_copy(update={"name": f"{below}/{each.part.name}"})) for each in summaries
        ]

    def prefix_of(self, number: int, phase: str) -> str:
        """Where a phase's plan and parts stand."""
        return f"{self.context.prefix}/rounds/{number:02d}/{phase}"


class Clock:
    """Wall seconds by phase of this process's run; a resumed phase counts only what was left of it."""

    def __init__(self) -> None:
        """Start now."""
        self.laps: dict[str, float] = {}
        self.at = time.monotonic()

    def lap(self, phase: str) -> None:
        """Add what has passed since the last lap to a phase."""
        now = time.monotonic()
        self.laps[phase] = self.laps.get(phase, 0.0) + now - self.at
        self.at = now
