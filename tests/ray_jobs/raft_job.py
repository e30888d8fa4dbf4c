"""The enhancer's chain in this process, around a narrow pair and a tiny language model: what its tests share."""

import copy
import importlib
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np

from curation.sample.scene_prompts import enrich, short_prompts
from ray_jobs import generation_worker, language_training, part_runner, raft_enhancer, train_enhancer
from ray_jobs.attempts import Attempts
from ray_jobs.config import job_settings
from ray_jobs.job import JobContext, plan_job
from ray_jobs.language_training import StoredModel, train_here
from ray_jobs.part_runner import WorkerSetup
from ray_jobs.progress import Progress
from ray_jobs.store import Store

SFT = {
    "shape": "tiny",
    "vocabulary": 600,
    "max_new_tokens": 24,
    "text_steps": 0,
    "tuning": {"steps": 120, "learning_rate": 1e-2, "checkpoint_every": 60, "warmup_steps": 10},
}
RAFT = {
    "num_prompts": 4,
    "num_held_out": 6,
    "expansions": 3,
    "rounds": 2,
    "prompts_per_part": 2,
    "images": {"steps": 1, "guidance": 1.0, "batch_size": 2},
    "tuning": {"steps": 4, "learning_rate": 1e-3, "checkpoint_every": 2, "warmup_steps": 1},
}


def fit_here(training):
    """Training without Ray, in this process."""
    stored = json.loads(train_here(training))
    return StoredModel.from_json(stored["model"]), stored["facts"]


def without_ray(patch, generator):
    """Parts one after the other in this process, training too; one generator for all, or each worker's own where None."""

    def schedule(context, missing, worker, prefix):
        setup = WorkerSetup(context.store, context.config, dict(context.plan.inputs), prefix)
        task = part_runner._PartTask(setup, worker, Attempts(context.store, prefix), context.artifact)
        for part in missing:
            for line in task({"part": [part]})["line"]:
                yield json.loads(line)

    patch.setattr(part_runner, "_schedule", schedule)
    if generator is not None:
        patch.setattr(generation_worker, "load_model", lambda store, config, experts: copy.copy(generator))
    for module in (language_training, raft_enhancer, train_enhancer):
        patch.setattr(module, "fit", fit_here)


def write_files(folder):
    """(pairs, prompts) of ten prompts, half of them Chinese, each enriched in six ways."""
    pairs, prompts = folder / "pairs.jsonl", folder / "prompts.jsonl"
    rng, shorts = np.random.default_rng(0), short_prompts(10)
    told = {"author": "the tests", "licence": "CC0-1.0"}
    rows = [{"short": s.prompt, "enriched": enrich(s, "plain", rng), "language": s.language} | told for s in shorts * 6]
    for path, records in ((pairs, rows), (prompts, [asdict(s) for s in shorts])):
        path.write_text("\n".join(json.dumps(record, ensure_ascii=False) for record in records))
    return pairs, prompts


class Enhancing:
    """A store with a published pair, and the enhancer's jobs."""

    def __init__(self, store: Store):
        self.store = store

    def context(self, job, **settings):
        plan = plan_job(job, job_settings(job, "sample", settings), {}, self.store)
        return JobContext(plan, self.store, plan.config, Progress(job))

    def run(self, job, **settings):
        return importlib.import_module(f"ray_jobs.{job}").run(self.context(job, **settings))

    def teach(self, **settings):
        """A model that has learnt the pairs of its ten prompts by heart, so that most of what it says is usable."""
        pairs, _ = write_files(Path(self.store.root).parent)
        self.run("register_pairs", path=str(pairs), starter=False, scene_pairs=0, held_out_share=0.2)
        return self.run("train_enhancer", **SFT | settings)

    def raft(self, **settings):
        _, prompts = write_files(Path(self.store.root).parent)
        return self.run("raft_enhancer", **RAFT | {"prompts": str(prompts)} | settings)
