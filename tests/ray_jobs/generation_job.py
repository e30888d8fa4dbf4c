"""The generation job in this process, around a real, narrow pair: what its tests share."""

import json
import uuid
from pathlib import Path

from ray_jobs.config import job_settings
from ray_jobs.generate_images import run
from ray_jobs.job import JobContext, plan_job
from ray_jobs.progress import Progress
from ray_jobs.store import Store

FAST = {"steps": 1, "guidance": 1.0, "batch_size": 2, "images_per_part": 4}
RECORDS = [
    *({"prompt": f"a red ball {n}", "prompt_id": f"square-{n}"} for n in range(5)),
    {"prompt": "一只蓝色的鱼", "prompt_id": "wide", "bucket": 1, "category": "Animals", "seed": 11},
    {"prompt": "a box", "prompt_id": "sized", "size": "64x64", "negative": "blurry"},
    {"prompt": "", "prompt_id": "empty"},
    {"prompt": "a hat", "prompt_id": "nowhere", "size": "63x64"},
]


class InProcess:
    """A store with prompts and a pair, and jobs run without Ray: parts one after the other in this process."""

    def __init__(self, root, base):
        self.store = Store(str(root))
        with_folder(self.store, base)

    def register(self, records, rows_per_part=4):
        from ray_jobs.register_prompts import run as register

        path = Path(self.store.root).with_name(f"prompts-{uuid.uuid4().hex}.jsonl")
        path.write_text("\n".join(map(json.dumps, records)))
        plan = plan_job("register_prompts", {"path": str(path), "rows_per_part": rows_per_part}, {}, self.store)
        return register(JobContext(plan, self.store, plan.config, Progress("register_prompts")))

    def plan(self, **settings):
        return plan_job("generate_images", job_settings("generate_images", "sample", FAST | settings), {}, self.store)

    def generate(self, **settings):
        plan = self.plan(**settings)
        context = JobContext(plan, self.store, plan.config, Progress("generate_images"))
        return run(context)


def with_folder(store, folder):
    from ray_jobs.artifacts import JOBS
    from ray_jobs.job import JobPlan
    from ray_jobs.job_configs import CONFIGS

    plan = JobPlan(JOBS["publish_experts"], CONFIGS["publish_experts"](), {}, "e" * 24)
    JobContext(plan, store, plan.config, Progress("publish_experts")).commit_folder(folder)


def poison(monkeypatch, word):
    """Let prompts with a word in them break the generator of every worker."""
    from ray_jobs import generation_worker

    load = generation_worker.load_model

    def loaded(store, config, experts):
        made = load(store, config, experts)
        sample = made.generate

        def generate(requests, on_step=None):
            if any(word in request.prompt for request in requests):
                raise RuntimeError("tokens\nran dry")
            return sample(requests, on_step)

        made.generate = generate
        return made

    monkeypatch.setattr(generation_worker, "load_model", loaded)
