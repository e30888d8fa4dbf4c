"""The content of the enhancer's page, from a version of `raft_rounds` and what it began with."""

from typing import Any

from pangu.evaluation.dashboard.enhancement import Bounds, EnhancementContent, EnhancementRound, PromptPictures
from ray_jobs.manifest import Manifest
from ray_jobs.parts import read_rows
from ray_jobs.store import Store
from ray_jobs.versions import Versions

NUM_PAIRS = 24
_SHOWN = ["round", "arm", "prompt_id", "language", "text", "image", "judge"]


def enhancement_content(store: Store, found: Manifest) -> EnhancementContent:
    """The page of a version of `raft_rounds`."""
    facts = found.facts
    start = Versions(store).find("enhancer_sft", found.inputs["enhancer_sft"].key)
    taught: dict[str, Any] = {} if start is None else start.facts
    before = taught.get("held_out_loss_after_texts", taught.get("held_out_loss_before"))
    after = taught.get("held_out_loss_after")
    return EnhancementContent(
        version=found.key,
        digest=found.digest,
        scorer=_scorer(facts["held_out_scorer"]),
        why=facts["why"],
        best_round=facts["best_round"],
        rounds=tuple(_round(each) for each in facts["figures"]),
        pairs=tuple(prompt_pictures(store, found)),
        losses=tuple(taught.get("losses", ())),
        held_out_loss=None if before is None or after is None else (before, after),
    )


def prompt_pictures(store: Store, version: Manifest) -> list[PromptPictures]:
    """Held-out prompts, languages in turn, with the pictures of the best round, or of the last where none is better."""
    shown = version.facts["best_round"] or version.facts["figures"][-1]["round"]
    wanted = {(0, "original"): 0, (0, "sft"): 1, (shown, "enhanced"): 2}
    parts = [part for part in version.parts if not part.name.split("/")[1].startswith(("train", "winners"))]
    slim = version.model_copy(update={"parts": tuple(parts)})
    rows: dict[str, dict[int, dict[str, Any]]] = {}
    for row in read_rows(store, slim, _SHOWN).to_pylist():
        place = wanted.get((row["round"], row["arm"]))
        if place is not None:
            rows.setdefault(row["prompt_id"], {})[place] = row
    whole = [(name, each) for name, each in sorted(rows.items()) if len(each) == len(wanted)]
    return [_pictures(each) for _, each in whole[:NUM_PAIRS]]


def _pictures(rows: dict[int, dict[str, Any]]) -> PromptPictures:
    images = [rows[place]["image"] for place in range(3)]
    return PromptPictures(
        language=rows[0]["language"],
        texts=(rows[0]["text"], rows[1]["text"], rows[2]["text"]),
        images=tuple(None if image is None else image["bytes"] for image in images),  # type: ignore[arg-type]
        scores=(rows[0]["judge"], rows[1]["judge"], rows[2]["judge"]),
    )


def _round(fields: dict[str, Any]) -> EnhancementRound:
    def bounds(name: str) -> Bounds:
        return fields[name]["value"], fields[name]["low"], fields[name]["high"]

    return EnhancementRound(
        number=fields["round"],
        n=fields["n"],
        wins_over_sft=bounds("wins_over_sft"),
        wins_over_original=bounds("wins_over_original"),
        reward_gain=bounds("reward_gain"),
        wins_over_champion=bounds("wins_over_champion") if fields["wins_over_champion"] else None,
        language_kept=fields["language_kept"],
        things_kept=fields["things_kept"],
        mean_words=fields["mean_words"],
        distinct=fields["distinct"],
        winners=fields["winners"],
        seconds=fields["seconds"],
    )


def _scorer(judge: str) -> str:
    return "the scene judge" if judge == "scenes" else f"another CLIP ({judge})"
