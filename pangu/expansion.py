"""Expansions of prompts, sampled in batches: a text is decided by its prompt and seed, not by its company.

Every row draws its own uniforms from (prompt, seed), one a token, and takes the token at that place of the cut and
tempered distribution. Batches have a fixed number of rows and padded lengths of fixed steps, so that on a CPU a row's
numbers are the same to the bit in any company.
"""

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from pangu.language_model import EnhancerCard, LanguageModel

LENGTH_STEP = 8
"""Prompts are padded to a multiple of so many tokens."""


@dataclass(frozen=True)
class ExpansionRequest:
    """One expansion to make; equal prompts with other seeds give other texts."""

    prompt: str
    seed: int
    language: str = "en"


class Sampling(BaseModel):
    """How tokens are drawn. temperature 0: always the likeliest. top_p: share of the probability that may be drawn from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    temperature: float = Field(0.8, ge=0, le=5)
    top_p: float = Field(0.95, gt=0, le=1)
    max_new_tokens: int = Field(96, ge=1, le=4096)

    @classmethod
    def of_card(cls, card: EnhancerCard) -> "Sampling":
        """What a model's card says."""
        return cls(temperature=card.temperature, top_p=card.top_p, max_new_tokens=card.max_new_tokens)


def row_uniforms(request: ExpansionRequest, num_tokens: int) -> np.ndarray:
    """(num_tokens,) float64 in [0, 1) of one row, from its prompt and seed alone."""
    digest = hashlib.sha256(f"{request.seed}\0{request.prompt.strip()}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "big")).random(num_tokens)


class RowSampler:
    """A logits processor for greedy decoding that leaves each row the one token its own uniform draws."""

    def __init__(self, uniforms: np.ndarray, prompt_length: int, sampling: Sampling) -> None:
        """uniforms: (rows, max_new_tokens) in [0, 1)."""
        self.uniforms, self.prompt_length, self.sampling = torch.from_numpy(uniforms), prompt_length, sampling

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """scores: (rows, vocabulary). The same shape, 0 at the drawn token and -inf elsewhere."""
        uniforms = self.uniforms[:, input_ids.shape[1] - self.prompt_length].to(scores.device)
        drawn = draw_tokens(scores, uniforms, self.sampling)
        return torch.full_like(scores, -torch.inf).scatter_(1, drawn[:, None], 0.0)


def draw_tokens(scores: Tensor, uniforms: Tensor, sampling: Sampling) -> Tensor:
    """(rows,) token ids: the inverse of each row's distribution function at its uniform.

    scores: (rows, vocabulary) logits. uniforms: (rows,) float64 in [0, 1). The likeliest tokens that together reach
    `top_p` stay (Holtzman et al., arXiv 1904.09751), the last of them whole.
    """
    if sampling.temperature == 0:
        return scores.argmax(dim=1)
    ordered, order = torch.sort(scores.double() / sampling.temperature, dim=1, descending=True, stable=True)
    shares = ordered.softmax(dim=1)
    reached = shares.cumsum(dim=1)
    kept = shares * (reached - shares < sampling.top_p)
    steps = kept.cumsum(dim=1)
    place = (steps <= uniforms[:, None] * steps[:, -1:]).sum(dim=1).clamp(max=scores.shape[1] - 1)
    return order.gather(1, place[:, None])[:, 0]


class Expander:
    """Samples expansions of a model. Safe for one thread at a time."""

    def __init__(
        self, language_model: LanguageModel, sampling: Sampling | None = None, rows_per_batch: int = 16
    ) -> None:
        """rows_per_batch: the fixed size of a batch; it decides the last bits of the numbers, as everywhere."""
        if rows_per_batch < 1:
            raise ValueError(f"rows_per_batch: got {rows_per_batch}, expected at least 1")
        self.language_model = language_model
        self.sampling = sampling or Sampling.of_card(language_model.card)
        self.rows_per_batch = rows_per_batch

    def expand(self, requests: Sequence[ExpansionRequest]) -> list[str]:
        """One text a request, in order; an answer that reached no end within `max_new_tokens` is cut there."""
        tokens = [self.language_model.prompt_tokens(request.prompt, request.language) for request in requests]
        by_length: dict[int, list[int]] = defaultdict(list)
        for place, row in enumerate(tokens):
            by_length[-(-len(row) // LENGTH_STEP) * LENGTH_STEP].append(place)
        texts: dict[int, str] = {}
        for length, places in sorted(by_length.items()):
            for start in range(0, len(places), self.rows_per_batch):
                chosen = places[start : start + self.rows_per_batch]
                answers = self._sample([tokens[place] for place in chosen], [requests[p] for p in chosen], length)
                texts.update(zip(chosen, answers, strict=True))
        return [texts[place] for place in range(len(requests))]

    @torch.inference_mode()
    def _sample(self, tokens: Sequence[Sequence[int]], requests: Sequence[ExpansionRequest], length: int) -> list[str]:
        from transformers import GenerationConfig, LogitsProcessorList

        held = self.language_model
        ids = torch.full((self.rows_per_batch, length), held.pad_id)
        mask = torch.zeros_like(ids)
        uniforms = np.zeros((self.rows_per_batch, self.sampling.max_new_tokens))
        for place in range(self.rows_per_batch):
            source = place if place < len(tokens) else 0  # padding rows repeat the first, and are thrown away
            row = torch.tensor(tokens[source])
            ids[place, length - len(row) :], mask[place, length - len(row) :] = row, 1
            uniforms[place] = row_uniforms(requests[source], self.sampling.max_new_tokens)
        device = held.model.device
        config = GenerationConfig(
            do_sample=False,
            max_new_tokens=self.sampling.max_new_tokens,
            eos_token_id=held.end_id,
            pad_token_id=held.pad_id,
        )
        made = held.model.generate(
            ids.to(device),
            attention_mask=mask.to(device),
            generation_config=config,
            logits_processor=LogitsProcessorList([RowSampler(uniforms, length, self.sampling)]),
        )
        return [held.read_answer(row[length:].tolist()) for row in made[: len(tokens)].cpu()]
