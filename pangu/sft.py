"""Fine-tuning of a causal language model on pairs, with the loss on the answer alone; one process or many.

The same loop fits the first model on annotated pairs, and in every round of RAFT the winners. With `kl_weight` it is
held near a reference model by the divergence KL(model || reference) at the answer's tokens.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, distributed, nn

from pangu.language_checkpoint import load_training, save_training
from pangu.language_model import LanguageModel

IGNORED = -100
"""Target of a token that no loss counts."""


@dataclass(frozen=True)
class Example:
    """Tokens, of which those from `answer_from` on are to be learnt."""

    tokens: tuple[int, ...]
    answer_from: int


class SftSettings(BaseModel):
    """Steps and optimiser. batch_size: over all processes. kl_weight: 0 needs no reference model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: int = Field(200, ge=0)
    batch_size: int = Field(16, ge=1)
    learning_rate: float = Field(5e-4, gt=0)
    warmup_steps: int = Field(10, ge=0)
    weight_decay: float = Field(0.0, ge=0)
    max_gradient_norm: float = Field(1.0, gt=0)
    kl_weight: float = Field(0.0, ge=0)
    max_tokens: int = Field(256, ge=8)
    checkpoint_every: int = Field(100, ge=1)
    seed: int = 0


@dataclass(frozen=True)
class SftTask:
    """What is learnt: `examples` for every step, or `texts` in the first `text_steps` of them."""

    examples: Sequence[Example]
    texts: Sequence[Example] = ()
    text_steps: int = 0
    reference: Any = None
    checkpoints: Path | None = None


def pair_example(model: LanguageModel, short: str, enriched: str, language: str, max_tokens: int) -> Example:
    """A pair as the model reads it, cut to so many tokens."""
    asked, answer = model.prompt_tokens(short, language), model.answer_tokens(enriched)
    return Example(tuple((asked + answer)[:max_tokens]), min(len(asked), max_tokens - 1))


def text_example(model: LanguageModel, text: str, max_tokens: int) -> Example:
    """A text of which every token but the first is learnt."""
    return Example(tuple(model.answer_tokens(text)[:max_tokens]), 1)


def stack_examples(examples: Sequence[Example], pad_id: int) -> tuple[Tensor, Tensor, Tensor]:
    """(B, L) tokens, attention mask and targets, padded at the right; targets outside the answers are `IGNORED`."""
    length = max(len(example.tokens) for example in examples)
    tokens = torch.full((len(examples), length), pad_id)
    mask, targets = torch.zeros_like(tokens), torch.full_like(tokens, IGNORED)
    for row, example in enumerate(examples):
        own = torch.tensor(example.tokens)
        tokens[row, : len(own)], mask[row, : len(own)] = own, 1
        targets[row, example.answer_from : len(own)] = own[example.answer_from :]
    return tokens, mask, targets


def answer_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Sum over the answers' tokens of -log p(token | what stands before it)."""
    return nn.functional.cross_entropy(
        logits[:, :-1].flatten(0, 1).float(), targets[:, 1:].flatten(), ignore_index=IGNORED, reduction="sum"
    )


def answer_divergence(logits: Tensor, reference: Tensor, targets: Tensor) -> Tensor:
    """Sum over the answers' tokens of KL(model || reference)."""
    ours, theirs = logits[:, :-1].float().log_softmax(-1), reference[:, :-1].float().log_softmax(-1)
    each = (ours.exp() * (ours - theirs)).sum(-1)
    return (each * (targets[:, 1:] != IGNORED)).sum()


def rows_of_step(num_examples: int, batch_size: int, seed: int, step: int) -> list[int]:
    """Which examples a step learns from: every epoch is its own shuffle of all of them."""
    found: list[int] = []
    for place in range(step * batch_size, (step + 1) * batch_size):
        epoch, at = divmod(place, num_examples)
        order = torch.randperm(num_examples, generator=torch.Generator().manual_seed(seed * 1_000_003 + epoch))
        found.append(int(order[at]))
    return found


def train_language_model(
    model: nn.Module,
    task: SftTask,
    settings: SftSettings,
    pad_id: int,
    on_step: Callable[[int, float], None] | None = None,
) -> list[float]:
    """Train in place, going on from the newest whole checkpoint; the mean loss an answer token, of every step.

    model: a causal language model of transformers, or such a model wrapped for data parallelism.

    Raises:
        ValueError: there is nothing to learn from, or `kl_weight` is set without a reference.
        FloatingPointError: the loss is not finite.
    """
    if settings.steps and not task.examples:
        raise ValueError("examples: none given; accepted is at least one pair")
    if settings.kl_weight and task.reference is None:
        raise ValueError(f"kl_weight: {settings.kl_weight} set without a reference model")
    plain: nn.Module = model.module if isinstance(model, nn.parallel.DistributedDataParallel) else model
    model.train()
    learnt = {name: weights for name, weights in plain.named_parameters() if weights.requires_grad}
    optimizer = torch.optim.AdamW(learnt.values(), settings.learning_rate, weight_decay=settings.weight_decay)
    losses = load_training(task.checkpoints, learnt, optimizer) if task.checkpoints is not None else []
    for step in range(len(losses), settings.steps):
        losses.append(_train_one_step(model, optimizer, task, settings, pad_id, step))
        if on_step is not None:
            on_step(step + 1, losses[-1])
        due = (step + 1) % settings.checkpoint_every == 0
        if task.checkpoints is not None and due and _rank() == 0:
            save_training(task.checkpoints, learnt, optimizer, losses)
    model.eval()
    return losses


def _train_one_step(
    model: nn.Module, optimizer: torch.optim.Optimizer, task: SftTask, settings: SftSettings, pad_id: int, step: int
) -> float:
    for group in optimizer.param_groups:
        group["lr"] = learning_rate_at(settings, step)
    source = task.texts if step < task.text_steps else task.examples
    rows = rows_of_step(len(source), settings.batch_size, settings.seed, step)
    num_tokens = sum(len(source[row].tokens) - source[row].answer_from for row in rows)
    own = [source[row] for row in rows[_rank() :: _num_workers()]]
    device = next(model.parameters()).device
    total = torch.zeros((), device=device)
    optimizer.zero_grad(set_to_none=True)
    if own:
        tokens, mask, targets = (each.to(device) for each in stack_examples(own, pad_id))
        logits = model(input_ids=tokens, attention_mask=mask).logits
        total = answer_loss(logits, targets)
        if settings.kl_weight:
            with torch.no_grad():
                reference = task.reference(input_ids=tokens, attention_mask=mask).logits
            total = total + settings.kl_weight * answer_divergence(logits, reference, targets)
        # Data parallelism averages gradients over workers; our shares are to be added, hence the factor.
        (total / num_tokens * _num_workers()).backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(model.parameters(), settings.max_gradient_norm)
    loss = float(_sum_over_workers(total.detach() / num_tokens))
    if not math.isfinite(loss):
        raise FloatingPointError(f"loss at step {step + 1}: got {loss}; lower the learning rate")
    optimizer.step()
    return loss


def learning_rate_at(settings: SftSettings, step: int) -> float:
    """A linear rise over `warmup_steps`, then half a cosine down to a tenth."""
    if step < settings.warmup_steps:
        return settings.learning_rate * (step + 1) / settings.warmup_steps
    done = (step - settings.warmup_steps) / max(settings.steps - settings.warmup_steps, 1)
    return settings.learning_rate * (0.55 + 0.45 * math.cos(math.pi * min(done, 1.0)))


@torch.inference_mode()
def mean_answer_loss(model: nn.Module, examples: Sequence[Example], pad_id: int, batch_size: int = 16) -> float:
    """The mean of -log p over all answer tokens of these examples."""
    model.eval()
    device = next(model.parameters()).device
    total, count = 0.0, 0
    for start in range(0, len(examples), batch_size):
        part = examples[start : start + batch_size]
        tokens, mask, targets = (each.to(device) for each in stack_examples(part, pad_id))
        total += float(answer_loss(model(input_ids=tokens, attention_mask=mask).logits, targets))
        count += int((targets[:, 1:] != IGNORED).sum())
    return total / count


def _sum_over_workers(value: Tensor) -> Tensor:
    if _num_workers() > 1:
        distributed.all_reduce(value)
    return value


def _num_workers() -> int:
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def _rank() -> int:
    return distributed.get_rank() if distributed.is_available() and distributed.is_initialized() else 0
