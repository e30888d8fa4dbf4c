"""Pairs of experts as training would have stored them, each the carried pair with its weights changed a little or a lot."""

import json

import torch

from ray_jobs import part_runner
from ray_jobs.artifacts import JOBS
from ray_jobs.config import job_settings
from ray_jobs.job import JobContext, JobPlan, plan_job, run_job
from ray_jobs.job_configs import CONFIGS, SAMPLE_MODELS
from ray_jobs.manifest import key_of
from ray_jobs.progress import Progress
from ray_jobs.versions import Versions
from tests.ray_jobs.night_store import in_process


def curate_here(store, url_list, host, monkeypatch):
    """The chain from a URL list to the training set in this process, parts one after the other, without Ray."""
    with monkeypatch.context() as patch:
        patch.setattr(part_runner, "_schedule", in_process)
        for job, settings in (
            ("register_url_list", {"path": str(url_list)}),
            ("download_images", {"allow_hosts": [host], "timeout_s": 1.5, "retries": 0}),
            ("score_images", {}),
            ("build_training_set", {}),
        ):
            run_job(plan_job(job, job_settings(job, "sample", settings), {}, store), store)


def scale_weights(module, spread, seed):
    """Every weight by a factor of 1 + spread x a normal draw: what another night of training does, or a broken one."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in module.parameters():
            weight.mul_(1.0 + spread * torch.randn(weight.shape, generator=generator))


def publish_pair(store, tmp_path, name, *, structure=0.0, texture=0.0, seed=0):
    """Store both experts with these spreads and publish them with the real job; the version of ``experts``."""
    from pangu.pipeline import load_experts

    pair = load_experts(SAMPLE_MODELS / "experts")
    references = {}
    for role, spread in (("structure", structure), ("texture", texture)):
        unet = getattr(pair, role)
        scale_weights(unet, spread, seed)
        folder = tmp_path / name / role
        unet.save_pretrained(folder / "unet")
        identity = getattr(pair.card, role)
        (folder / "identity.json").write_text(identity.model_dump_json())
        references[f"expert_{role}"] = f"expert_{role}@{store_expert(store, name, role, folder, identity).key}"
    plan = plan_job("publish_experts", {"title": f"Pair {name}"}, references, store)
    return run_job(plan, store).manifest


def store_expert(store, name, role, folder, identity):
    """One expert as a version of its artifact."""
    job = JOBS[f"train_{role}"]
    versions = Versions(store)
    inputs = {artifact: versions.latest(artifact) for artifact in job.takes}
    plan = JobPlan(job, CONFIGS[job.name](), inputs, key_of(job.name, 1, {"name": name}, {}))
    kept = inputs["training_set"].counts["kept"]
    facts = {"role": role, "steps": 0, "losses": [], "pictures": kept, "pictures_in_set": kept, "parameters": 0}
    facts |= {"init": "base", "time_range": [identity.time_range.start, identity.time_range.stop]}
    return JobContext(plan, store, plan.config, Progress(job.name)).commit_folder(folder, facts)


def write_prompts(path, num_prompts):
    """A list of square scenes in two languages."""
    from curation.sample.scene_captions import sample_prompts

    names = ("prompt_id", "prompt", "language", "style")
    rows = [{name: getattr(prompt, name) for name in names} for prompt in sample_prompts(num_prompts)]
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path
