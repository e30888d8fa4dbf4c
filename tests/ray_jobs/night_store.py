"""A store with evaluated nights of drawn scenes in place of a model's pictures: what the site's tests share.

The numbers are measured by the real job, its parts done in this process.
"""

import hashlib
import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image

from curation.sample.scene_judge_fit import draw_at
from curation.sample.scenes import Scene
from ray_jobs import compare_models, evaluate_images, part_runner, register_pictures, register_prompts, write_history
from ray_jobs.artifacts import JOBS
from ray_jobs.attempts import Attempts
from ray_jobs.config import job_settings
from ray_jobs.generated_rows import GENERATED
from ray_jobs.job import JobContext, JobPlan, plan_job
from ray_jobs.job_configs import CONFIGS
from ray_jobs.parts import not_digested, read_rows, split_by_key, write_part
from ray_jobs.progress import Progress

MODULES = {
    "register_prompts": register_prompts,
    "register_pictures": register_pictures,
    "evaluate_images": evaluate_images,
    "compare_models": compare_models,
    "write_history": write_history,
}


def in_process(context, missing, worker, prefix):
    """What `part_runner._schedule` gives, without Ray."""
    setup = part_runner.WorkerSetup(context.store, context.config, dict(context.plan.inputs), prefix)
    task = part_runner._PartTask(setup, worker, Attempts(context.store, prefix), context.artifact)
    for part in missing:
        for line in task({"part": [part]})["line"]:
            yield json.loads(line)


def run(store, job, references=None, **settings):
    """One job, over the sample preset."""
    plan = plan_job(job, job_settings(job, "sample", settings), references or {}, store)
    return MODULES[job].run(JobContext(plan, store, plan.config, Progress(job)))


def drawn(attributes, seed, noise):
    """A PNG of a scene (64, 64), with grain."""
    pixels = draw_at(Scene.from_json(attributes), (64, 64), seed).astype(np.float32)
    pixels += np.random.default_rng(seed).normal(0, noise, pixels.shape)
    stream = io.BytesIO()
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def commit_pictures(store, prompts, model, *, noise=6.0, broken=0.0, seed=0):
    """A version of ``generated_images``. broken: the share of the prompts whose picture shows another's scene."""
    listed = [row for row in read_rows(store, prompts).to_pylist() if row["reason"] is None]
    listed.sort(key=lambda row: row["prompt_id"])
    rows = []
    for index, prompt in enumerate(listed):
        shown = listed[(index + 7) % len(listed)] if index < broken * len(listed) else prompt
        carried = {name: prompt.get(name) for name in GENERATED.names if name in prompt}
        data = drawn(shown["attributes"], index, noise + seed * 0.1)
        rows.append(
            dict.fromkeys(GENERATED.names)
            | carried
            | {
                "key": f"{prompt['prompt_id']}/0",
                "sample_index": 0,
                "seed": 1000 + index,
                "bucket": 5,
                "image": {"bytes": data, "path": f"{index}.png"},
                "width": 64,
                "height": 64,
                "image_sha256": hashlib.sha256(data).hexdigest(),
                "experts": model,
            }
        )
    rows[-1] |= {"image": None, "image_sha256": None, "reason": "failed: out of memory"}
    config = CONFIGS["generate_images"].model_validate({"model": model, "steps": 30, "guidance": 3.0})
    key = hashlib.sha256(f"{model} {noise} {broken} {seed}".encode()).hexdigest()[:24]
    plan = JobPlan(JOBS["generate_images"], config, {"prompts": prompts}, key)
    context = JobContext(plan, store, config, Progress("generate_images"))
    parts = split_by_key(pa.Table.from_pylist(rows, schema=GENERATED), 16)
    leave_out = not_digested("generated_images")
    summaries = [write_part(store, context.prefix, name, table, leave_out) for name, table in parts.items()]
    mark = {"metadata": "trainedAlgorithmicMedia", "watermark": "none", "content_credentials": "none"}
    return context.commit_parts(summaries, {"mark": mark, "container": "parquet", "took": {"images_per_s": 2.5}})


def night_of(number):
    """A logical date."""
    return f"2026-11-{number + 1:02d}T03:00:00Z"


def add_night(store, number, champion, candidate, reference):
    """Evaluate both versions of pictures and compare them, as the nightly DAG does."""
    found = {}
    for role, made in (("champion", champion), ("candidate", candidate)):
        given = {"generated_images": f"generated_images@{made.key}"}
        found[role] = run(store, "evaluate_images", given, reference=str(reference), num_reference=200)
    references = {f"{role}:metrics": f"metrics@{version.key}" for role, version in found.items()}
    return run(store, "compare_models", references, night=night_of(number))


def write_reference(folder: Path, num: int) -> Path:
    """A folder of drawn scenes to hold pictures against."""
    folder.mkdir(parents=True, exist_ok=True)
    for index, row in enumerate(register_prompts.write_sample_prompts(num)):
        (folder / f"{index:04d}.png").write_bytes(drawn(row["attributes"], 5000 + index, 6.0))
    return folder
