"""The training loop of one expert, the same for one process and for many.

Workers are whatever torch.distributed says; the caller wraps the model for gradient synchronisation.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, distributed, nn

from pangu.batches import BatchSource
from pangu.checkpoint import (
    ExpertIdentity,
    TrainingState,
    latest_checkpoint,
    load_checkpoint,
    optimizer_tensors,
    restore_training,
    save_checkpoint,
)
from pangu.ema import Ema
from pangu.noise_schedule import NoiseSchedule
from pangu.text_encoder import TextFeatures
from pangu.train_step import LossTerms, TrainSettings, diffusion_loss, draw_noise, learning_rate_at


@dataclass(frozen=True)
class StepReport:
    """What happened in one step. step counts finished steps, so the first report says 1; loss is the global mean."""

    step: int
    loss: float
    learning_rate: float
    gradient_norm: float
    samples: tuple[int, ...]


@dataclass(frozen=True)
class TrainResult:
    """The end of a run: the averaged weights, and the loss of every step since the first."""

    ema: Ema
    losses: tuple[float, ...]


@dataclass(frozen=True)
class TrainTask:
    """What is trained on what. null: features of the empty text, one row. checkpoints: None writes none."""

    batches: BatchSource
    schedule: NoiseSchedule
    identity: ExpertIdentity
    null: TextFeatures
    checkpoints: Path | None = None


def train(
    model: nn.Module,
    task: TrainTask,
    settings: TrainSettings,
    on_step: Callable[[StepReport], None] | None = None,
) -> TrainResult:
    """Train in place up to `settings.steps`, going on from the newest whole checkpoint where there is one.

    model: called as a UNet2DConditionModel, or such a model wrapped for data parallelism.

    Raises:
        CheckpointError: the checkpoints belong to another expert.
        FloatingPointError: the loss is not finite.
    """
    plain: nn.Module = model.module if isinstance(model, nn.parallel.DistributedDataParallel) else model
    if settings.gradient_checkpointing:
        plain.enable_gradient_checkpointing()  # type: ignore[operator]
    model.train()
    optimizer = torch.optim.AdamW(
        plain.parameters(), settings.learning_rate, (0.9, settings.beta2), weight_decay=settings.weight_decay
    )
    ema = Ema(plain, settings.ema_decay)
    losses = list(_resume(task, plain, ema, optimizer))
    for step in range(len(losses), settings.steps):
        report = _train_one_step(model, optimizer, task, settings, step)
        ema.update(plain)
        losses.append(report.loss)
        if on_step is not None:
            on_step(report)
        due = settings.checkpoint_every is not None and (step + 1) % settings.checkpoint_every == 0
        if task.checkpoints is not None and (due or step + 1 == settings.steps) and _rank() == 0:
            state = TrainingState(
                step=step + 1,
                model=plain.state_dict(),
                ema=ema.weights,
                ema_updates=ema.num_updates,
                optimizer=optimizer_tensors(optimizer),
                losses=tuple(losses),
                identity=task.identity,
            )
            save_checkpoint(task.checkpoints, state, keep=settings.keep_checkpoints)
    return TrainResult(ema, tuple(losses))


def _resume(task: TrainTask, model: nn.Module, ema: Ema, optimizer: torch.optim.Optimizer) -> tuple[float, ...]:
    newest = latest_checkpoint(task.checkpoints) if task.checkpoints is not None else None
    if newest is None:
        return ()
    state = load_checkpoint(newest, task.identity)
    restore_training(state, model, ema, optimizer)
    return state.losses


def _train_one_step(
    model: nn.Module, optimizer: torch.optim.Optimizer, task: TrainTask, settings: TrainSettings, step: int
) -> StepReport:
    rate = learning_rate_at(settings, step)
    for group in optimizer.param_groups:
        group["lr"] = rate
    batch = task.batches.batch(step)
    shape = (batch.num_global, *batch.latents.shape[1:])
    draw = draw_noise(settings, step, shape, task.identity.time_range)
    optimizer.zero_grad(set_to_none=True)
    terms = LossTerms(task.schedule, task.identity.prediction_type, task.null, settings)
    loss = diffusion_loss(model, batch, draw, terms)
    # Data parallelism averages gradients over workers; our shares are to be added, hence the factor.
    (loss * _num_workers()).backward()  # type: ignore[no-untyped-call]
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), settings.max_gradient_norm)
    total = float(_sum_over_workers(loss.detach()))
    if not torch.isfinite(torch.tensor(total)):
        raise FloatingPointError(f"loss at step {step + 1}: got {total}; lower the learning rate or turn autocast off")
    optimizer.step()
    return StepReport(step + 1, total, rate, float(norm), batch.samples)


def _sum_over_workers(value: Tensor) -> Tensor:
    if _num_workers() > 1:
        distributed.all_reduce(value)
    return value


def _num_workers() -> int:
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def _rank() -> int:
    return distributed.get_rank() if distributed.is_available() and distributed.is_initialized() else 0
