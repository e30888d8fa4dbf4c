"""Fine-tuning of a causal language model on Ray Train: data-parallel, resumed from the store, stored as a folder.

Both the supervised fit and every round of RAFT run through here; they differ in what they start from and learn.
"""

import json
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ray_jobs.checkpoint_mirror import CheckpointMirror
from ray_jobs.enhancer_configs import FineTuning
from ray_jobs.errors import JobError
from ray_jobs.folder_versions import store_folder
from ray_jobs.job_configs import Runtime
from ray_jobs.manifest import Part
from ray_jobs.part_runner import ensure_ray, ray_resources
from ray_jobs.progress import Progress
from ray_jobs.store import Store

MAX_FAILURES = 3


@dataclass(frozen=True)
class StoredModel:
    """A language model in the store: its folder there, and the files with their digests."""

    prefix: str
    parts: tuple[Part, ...]

    def fetch(self, store: Store, folder: Path) -> Path:
        """Copy it here. ValueError if a file differs."""
        import hashlib

        store.fetch_folder(self.prefix, [part.name for part in self.parts], folder)
        for part in self.parts:
            if hashlib.sha256((folder / part.name).read_bytes()).hexdigest() != part.sha256:
                raise ValueError(f"{self.prefix}/{part.name} differs from what was stored")
        return folder

    def to_json(self) -> dict[str, Any]:
        """As it stands in plans."""
        return {"prefix": self.prefix, "parts": [part.model_dump() for part in self.parts]}

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> "StoredModel":
        """What `to_json` gave."""
        return cls(fields["prefix"], tuple(Part.model_validate(part) for part in fields["parts"]))


Pair = tuple[str, str, str]
"""Short prompt, enriched prompt, language."""


@dataclass(frozen=True)
class LanguageTraining:
    """What every training process is built from.

    start: a stored model, a folder or hub id@revision, or 'scratch'. texts: learnt whole in the first `text_steps`.
    card: of the model that comes out; held_out: pairs to measure the loss on, before and after.
    """

    store: Store
    prefix: str
    name: str
    start: StoredModel | str
    pairs: tuple[Pair, ...]
    tuning: FineTuning
    runtime: Runtime
    card: dict[str, Any]
    held_out: tuple[Pair, ...] = ()
    texts: tuple[str, ...] = ()
    text_steps: int = 0
    shape: str = "sample"
    vocabulary: int = 2048
    seed: int = 0
    data_parallel: int = 1
    facts: dict[str, Any] = field(default_factory=dict)


def fit(training: LanguageTraining) -> tuple[StoredModel, dict[str, Any]]:
    """Train on Ray Train; the stored model and what there is to say of it (losses, before and after on held-out pairs)."""
    import ray.train
    from ray.train.torch import TorchConfig, TorchTrainer

    runtime = training.runtime
    ensure_ray(runtime, log_to_driver=True)
    resources = ray_resources(runtime)
    per_worker = {"CPU": resources["num_cpus"], "GPU": resources.get("num_gpus", 0), **resources.get("resources", {})}
    with tempfile.TemporaryDirectory(prefix="pangu-ray-train-") as folder:
        trainer = TorchTrainer(
            train_process,
            train_loop_config={"training": training},
            torch_config=TorchConfig(backend={"npu": "hccl", "cuda": "nccl"}.get(runtime.device, "gloo")),
            scaling_config=ray.train.ScalingConfig(
                num_workers=training.data_parallel, resources_per_worker=per_worker, use_gpu=per_worker["GPU"] > 0
            ),
            run_config=ray.train.RunConfig(
                storage_path=folder, failure_config=ray.train.FailureConfig(max_failures=MAX_FAILURES)
            ),
        )
        result = trainer.fit()
    if result.return_value is None:
        raise JobError(f"{training.name}: training ended without a result: {result.error}")
    stored = json.loads(result.return_value)
    return StoredModel.from_json(stored["model"]), stored["facts"]


def train_process(loop_config: dict[str, Any]) -> str | None:
    """One training process; the first one stores the model and says where."""
    import ray.train
    import torch

    training: LanguageTraining = loop_config["training"]
    torch.set_num_threads(training.runtime.threads)
    worker = ray.train.get_context()
    return train_here(training, worker.get_world_rank(), worker.get_world_size())


def train_here(training: LanguageTraining, rank: int = 0, num_workers: int = 1) -> str | None:
    """Train in this process; JSON of the stored model and facts from the first one, None from the others."""
    from torch import nn

    from pangu.language_model import EnhancerCard
    from pangu.lora import merge_lora
    from pangu.sft import mean_answer_loss, pair_example, train_language_model
    from ray_jobs.device import torch_device

    language_model = first_model(training, torch_device(training.runtime))
    max_tokens = training.tuning.max_tokens
    held_out = [pair_example(language_model, *pair, max_tokens) for pair in training.held_out]
    model, pad = language_model.model, language_model.pad_id
    measured: dict[str, float] = {}
    if held_out and rank == 0:
        measured["held_out_loss_before"] = mean_answer_loss(model, held_out, pad)
    progress = Progress(training.name)
    with tempfile.TemporaryDirectory(prefix="pangu-checkpoints-") as folder:
        mirror = CheckpointMirror(training.store, training.prefix, Path(folder))
        mirror.fetch()
        task, settings = build_task(training, language_model, Path(folder))

        def on_step(step: int, loss: float) -> None:
            if rank == 0:
                progress.report(step, settings.steps, "steps", loss=loss)
                mirror.send()
            if rank == 0 and held_out and step == task.text_steps:
                measured["held_out_loss_after_texts"] = mean_answer_loss(model, held_out, pad)
                model.train()

        learnt: nn.Module = nn.parallel.DistributedDataParallel(model) if num_workers > 1 else model
        losses = train_language_model(learnt, task, settings, pad, on_step)
        if rank != 0:
            return None
        mirror.send()
    if held_out:
        measured["held_out_loss_after"] = mean_answer_loss(model, held_out, pad)
    merge_lora(model)
    facts = {
        **training.facts,
        "steps": len(losses),
        "losses": [round(loss, 6) for loss in losses],
        **measured,
        "held_out_pairs": len(held_out),
        "pairs": len(training.pairs),
        "parameters": sum(weights.numel() for weights in model.parameters()),
    }
    with tempfile.TemporaryDirectory(prefix="pangu-language-") as folder:
        language_model.save(Path(folder), EnhancerCard.model_validate(training.card))
        name, parts = store_folder(training.store, training.prefix, Path(folder))
    stored = StoredModel(f"{training.prefix}/{name}", parts)
    return json.dumps({"model": stored.to_json(), "facts": facts})


def first_model(training: LanguageTraining, device: str) -> Any:  # noqa: ANN401 transformers' classes are untyped
    """The model before the first step, with adapters where those learn."""
    from pangu.language_model import EnhancerCard, LanguageModel, build_language_model, load_language_model
    from pangu.lora import add_lora

    card = EnhancerCard.model_validate(training.card)
    if isinstance(training.start, StoredModel):
        with tempfile.TemporaryDirectory(prefix="pangu-start-") as folder:
            found = load_language_model(str(training.start.fetch(training.store, Path(folder))), device, card)
    elif training.start == "scratch":
        texts = [text for short, enriched, _ in training.pairs for text in (short, enriched)]
        built = build_language_model(texts, shape=training.shape, vocabulary=training.vocabulary, seed=training.seed)
        found = LanguageModel(built.model.to(device), built.tokenizer, card)
    else:
        found = load_language_model(training.start, device, card)
    if training.tuning.lora.rank:
        add_lora(found.model, training.tuning.lora.rank, training.tuning.lora.alpha, seed=training.seed)
    return found


def build_task(training: LanguageTraining, language_model: Any, checkpoints: Path) -> Any:  # noqa: ANN401
    """What is learnt, and how."""
    import copy

    from pangu.sft import SftSettings, SftTask, pair_example, text_example

    tuning = training.tuning
    max_tokens = tuning.max_tokens
    reference = None
    if tuning.kl_weight:
        reference = copy.deepcopy(language_model.model).eval().requires_grad_(False)
    task = SftTask(
        examples=[pair_example(language_model, *pair, max_tokens) for pair in training.pairs],
        texts=[text_example(language_model, text, max_tokens) for text in training.texts],
        text_steps=training.text_steps if training.texts else 0,
        reference=reference,
        checkpoints=checkpoints,
    )
    settings = SftSettings(
        steps=tuning.steps + (training.text_steps if training.texts else 0),
        batch_size=tuning.batch_size,
        learning_rate=tuning.learning_rate,
        warmup_steps=tuning.warmup_steps,
        kl_weight=tuning.kl_weight,
        max_tokens=max_tokens,
        checkpoint_every=tuning.checkpoint_every,
        seed=training.seed,
    )
    return task, settings
