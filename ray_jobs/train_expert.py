"""train_shared, train_structure, train_texture: one denoiser on Ray Train, data-parallel, resumed from the store."""

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curation.buckets import BucketTable
from ray_jobs.checkpoint_mirror import CheckpointMirror
from ray_jobs.download_images import BUCKET_TABLES
from ray_jobs.errors import JobError
from ray_jobs.folder_versions import fetch_version, store_folder
from ray_jobs.job import JobContext
from ray_jobs.job_configs import TrainExpert, TrainTexture, model_folder
from ray_jobs.manifest import Manifest
from ray_jobs.part_runner import ensure_ray, ray_resources
from ray_jobs.progress import Progress
from ray_jobs.store import Store

MAX_FAILURES = 3


@dataclass(frozen=True)
class TrainSetup:
    """What every training process is built from."""

    store: Store
    prefix: str
    role: str
    config: TrainExpert
    inputs: dict[str, Manifest]


def run(context: JobContext[TrainExpert]) -> Manifest:
    """Train to ``steps``; every process works on its rows of the same global batches."""
    import ray.train
    from ray.train.torch import TorchConfig, TorchTrainer

    config = context.config
    ensure_ray(config.runtime, log_to_driver=True)
    setup = TrainSetup(context.store, context.prefix, config.role, config, dict(context.plan.inputs))
    resources = ray_resources(config.runtime)
    per_worker = {"CPU": resources["num_cpus"], "GPU": resources.get("num_gpus", 0), **resources.get("resources", {})}
    with tempfile.TemporaryDirectory(prefix="pangu-ray-train-") as folder:
        trainer = TorchTrainer(
            train_process,
            train_loop_config={"setup": setup},
            torch_config=TorchConfig(backend={"npu": "hccl", "cuda": "nccl"}.get(config.runtime.device, "gloo")),
            scaling_config=ray.train.ScalingConfig(
                num_workers=config.data_parallel, resources_per_worker=per_worker, use_gpu=per_worker["GPU"] > 0
            ),
            run_config=ray.train.RunConfig(
                storage_path=folder, failure_config=ray.train.FailureConfig(max_failures=MAX_FAILURES)
            ),
        )
        result = trainer.fit()
    if result.return_value is None:
        raise JobError(f"train_{config.role}: training ended without a result: {result.error}")
    stored = json.loads(result.return_value)
    return context.commit_stored_folder(stored["folder"], stored["parts"], stored["facts"])


def train_process(loop_config: dict[str, Any]) -> str | None:
    """One training process; the first one stores the averaged weights and says where."""
    import ray.train
    import ray.train.torch
    import torch
    from torch import nn

    from pangu.checkpoint import ExpertIdentity
    from pangu.time_range import Role, TimeSplit
    from pangu.trainer import StepReport, TrainTask, train
    from ray_jobs.device import torch_device

    setup: TrainSetup = loop_config["setup"]
    config, role = setup.config, Role(setup.role)
    torch.set_num_threads(config.runtime.threads)
    torch.manual_seed(config.seed)
    worker = ray.train.get_context()
    parts = load_training_parts(setup, worker.get_world_rank(), worker.get_world_size(), torch_device(config.runtime))
    identity = ExpertIdentity(
        role=role,
        time_range=TimeSplit(boundary=config.split_timestep).range_of(role),
        prediction_type=parts.prediction_type,
        buckets=bucket_sizes_of(BUCKET_TABLES[config.bucket_table]),
    )
    progress = Progress(f"train_{role.value}")
    with tempfile.TemporaryDirectory(prefix="pangu-checkpoints-") as folder:
        mirror = CheckpointMirror(setup.store, setup.prefix, Path(folder))
        mirror.fetch()
        is_first = worker.get_world_rank() == 0

        def on_step(report: StepReport) -> None:
            if is_first:
                progress.report(report.step, config.steps, "steps", loss=report.loss)
                mirror.send()

        model: nn.Module = parts.unet
        if worker.get_world_size() > 1:
            model = nn.parallel.DistributedDataParallel(model)
        task = TrainTask(parts.batches, parts.schedule, identity, parts.null, Path(folder))
        result = train(model, task, train_settings(config), on_step)
        if not is_first:
            return None
        mirror.send()
        result.ema.copy_to(parts.unet)
        return store_expert(setup, parts, identity, result.losses)


def store_expert(setup: TrainSetup, parts: Any, identity: Any, losses: tuple[float, ...]) -> str:  # noqa: ANN401
    """Write the denoiser with what it is for, and describe it for the driver's commit (JSON)."""
    from pangu.networks import erase_origins

    facts = {
        "role": setup.role,
        "steps": len(losses),
        "losses": [round(loss, 6) for loss in losses],
        "pictures": parts.num_pictures,
        "pictures_in_set": parts.num_kept,
        "parameters": sum(p.numel() for p in parts.unet.parameters()),
        "init": setup.config.init,
        "time_range": [identity.time_range.start, identity.time_range.stop],
    }
    with tempfile.TemporaryDirectory(prefix="pangu-expert-") as folder:
        parts.unet.save_pretrained(f"{folder}/unet")
        erase_origins(Path(folder))
        (Path(folder) / "identity.json").write_text(identity.model_dump_json(indent=1) + "\n")
        name, stored = store_folder(setup.store, setup.prefix, Path(folder))
    return json.dumps({"folder": name, "parts": [part.model_dump() for part in stored], "facts": facts})


@dataclass(frozen=True)
class TrainingParts:
    """Model, data and schedule of one training process."""

    unet: Any
    batches: Any
    schedule: Any
    null: Any
    prediction_type: Any
    num_pictures: int
    num_kept: int


def load_training_parts(setup: TrainSetup, rank: int, num_workers: int, device: str) -> TrainingParts:
    """The denoiser to start from and this process's rows of every batch."""
    from pangu.batches import BatchPlan
    from pangu.noise_schedule import NoiseSchedule
    from pangu.pipeline import load_experts
    from pangu.training_samples import CaptionTable, LatentBatches
    from ray_jobs.training_data import load_samples, select_rows

    config = setup.config
    base = load_experts(Path(model_folder("base", config.base)))
    rows = select_rows(setup.store, setup.inputs["training_set"], setup.role)
    kept = setup.inputs["training_set"].counts["kept"]
    samples = load_samples(setup.store, setup.inputs["images"], rows, picture_taker(config), base.vae)
    captions = CaptionTable(base.text, [caption for sample in samples for caption in sample.captions])
    plan = BatchPlan([sample.bucket for sample in samples], config.batch_size, config.seed)
    batches = LatentBatches(samples, captions, plan, rank=rank, num_workers=num_workers)
    unet = first_weights(setup, base).to(device)
    null, kind = base.text.encode([""]), base.card.structure.prediction_type
    return TrainingParts(unet, batches, NoiseSchedule(), null, kind, len(samples), kept)


def picture_taker(config: TrainExpert) -> Any:  # noqa: ANN401 a function of picture and row
    """How this expert's pictures are cut from the stored ones."""
    from ray_jobs.training_data import take_shrunk, take_structure, take_window

    if not isinstance(config, TrainTexture):
        return take_structure
    return take_window if config.texture_pixels == "window" else take_shrunk


def first_weights(setup: TrainSetup, base: Any) -> Any:  # noqa: ANN401 diffusers' classes are untyped
    """The denoiser before the first step: the base's expert, the shared model, or random weights."""
    from pangu.networks import build_unet, load_unet

    if setup.config.init == "scratch":
        return build_unet(setup.config.network)
    if setup.config.init == "shared":
        with tempfile.TemporaryDirectory(prefix="pangu-shared-") as folder:
            fetch_version(setup.store, setup.inputs["expert_shared"], Path(folder))
            return load_unet(Path(folder) / "unet")
    if setup.role == "shared":
        raise ValueError("train_shared.init = 'base': the base is a pair of experts; accepted are scratch and shared")
    return getattr(base, setup.role).requires_grad_(True)


def bucket_sizes_of(table: BucketTable) -> Any:  # noqa: ANN401
    """Curation's bucket table as pangu's, through its JSON."""
    from pangu.bucket_conditioning import bucket_sizes

    return bucket_sizes(json.loads(table.to_json()))


def train_settings(config: TrainExpert) -> Any:  # noqa: ANN401
    """The library's settings for a job's config."""
    from pangu.train_step import TrainSettings

    return TrainSettings(
        steps=config.steps,
        learning_rate=config.learning_rate,
        warmup_steps=config.warmup_steps,
        ema_decay=config.ema_decay,
        caption_drop=config.caption_dropout,
        autocast="bfloat16" if config.precision == "bf16" else None,
        gradient_checkpointing=config.gradient_checkpointing,
        checkpoint_every=config.checkpoint_every,
        seed=config.seed,
    )
