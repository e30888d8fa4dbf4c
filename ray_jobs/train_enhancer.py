"""train_enhancer: supervised fine-tuning of a causal language model on the annotated pairs, on Ray Train."""

from ray_jobs.enhancer_configs import TrainEnhancer
from ray_jobs.errors import JobError
from ray_jobs.job import JobContext
from ray_jobs.language_training import LanguageTraining, Pair, fit
from ray_jobs.manifest import Manifest
from ray_jobs.parts import read_rows


def run(context: JobContext[TrainEnhancer]) -> Manifest:
    """Train to `tuning.steps`; facts tell the losses, and that of the held-out pairs before and after."""
    training = sft_training(context)
    model, facts = fit(training)
    folder = model.prefix.rpartition("/")[2]
    return context.commit_stored_folder(folder, [part.model_dump() for part in model.parts], facts)


def sft_training(context: JobContext[TrainEnhancer]) -> LanguageTraining:
    """What the job's processes are built from."""
    config = context.config
    taught, held_out = split_pairs(context)
    if not taught:
        raise JobError("train_enhancer: no pair is left to learn from")
    return LanguageTraining(
        store=context.store,
        prefix=context.prefix,
        name="train_enhancer",
        start=config.model,
        pairs=tuple(taught),
        held_out=tuple(held_out),
        texts=tuple(enriched for _, enriched, _ in taught),
        text_steps=config.text_steps,
        tuning=config.tuning,
        runtime=config.runtime,
        card={
            "template": config.template,
            "temperature": config.temperature,
            "top_p": config.top_p,
            "max_new_tokens": config.max_new_tokens,
            "facts": {"stage": "supervised fine-tuning", "starts_from": config.model},
        },
        shape=config.shape,
        vocabulary=config.vocabulary,
        seed=config.seed,
        data_parallel=config.data_parallel,
        facts={"starts_from": config.model, "template": config.template},
    )


def split_pairs(context: JobContext[TrainEnhancer]) -> tuple[list[Pair], list[Pair]]:
    """(to learn from, held out) of the pairs without a fault, in key order."""
    rows = sorted(read_rows(context.store, context.input("pairs")).to_pylist(), key=lambda row: str(row["key"]))
    kept = [row for row in rows if row["reason"] is None]
    pairs = [((row["short"], row["enriched"], row["language"]), row["held_out"]) for row in kept]
    return [pair for pair, is_held_out in pairs if not is_held_out], [pair for pair, held in pairs if held]
