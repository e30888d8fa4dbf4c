"""Row 14: expansions of prompts, in batches of 32 against one by one with transformers' `generate`, the same texts.

A model of the sample's shape, one process and one thread on either side. Its weights are random, so that no text ends
early and both sides write as many tokens. Both draw every token by the prompt's own uniforms; the texts are compared.
"""

import torch
from transformers import GenerationConfig, LogitsProcessorList

from curation.sample.scene_prompts import scene_pairs, short_prompts
from pangu.expansion import Expander, ExpansionRequest, RowSampler, Sampling, row_uniforms
from pangu.language_model import LanguageModel, build_language_model
from tests.benchmarks.interleaved import THREADS, BenchmarkRow, compare

ROWS_PER_BATCH = 32
SAMPLING = Sampling(temperature=1.0, top_p=0.98, max_new_tokens=64)


def one_by_one(requests: list[ExpansionRequest], held: LanguageModel) -> list[str]:
    """Every text by a call of its own, as transformers' examples do it."""
    config = GenerationConfig(
        do_sample=False, max_new_tokens=SAMPLING.max_new_tokens, eos_token_id=held.end_id, pad_token_id=held.pad_id
    )
    texts = []
    for request in requests:
        tokens = torch.tensor([held.prompt_tokens(request.prompt, request.language)])
        sampler = RowSampler(row_uniforms(request, SAMPLING.max_new_tokens)[None], tokens.shape[1], SAMPLING)
        with torch.inference_mode():
            made = held.model.generate(
                tokens,
                attention_mask=torch.ones_like(tokens),
                generation_config=config,
                logits_processor=LogitsProcessorList([sampler]),
            )
        texts.append(held.read_answer(made[0, tokens.shape[1] :].tolist()))
    return texts


def check(mine: list[str], theirs: list[str]) -> str:
    """Nearly all texts are the same: rounding differs with the batch's shape, and may turn a token on its edge."""
    same = sum(one == other for one, other in zip(mine, theirs, strict=True))
    assert same >= 0.98 * len(mine), f"{same} of {len(mine)} texts are the same"
    return f"{same} of {len(mine)} texts are the same"


def measure(full: bool) -> list[BenchmarkRow]:
    """One row."""
    num = 512 if full else 64
    torch.set_num_threads(THREADS)
    pairs = scene_pairs(400)
    texts = [text for pair in pairs for text in (pair.short.prompt, pair.enriched)]
    held = build_language_model(texts, vocabulary=1024)
    shorts = short_prompts(64)
    requests = [ExpansionRequest(shorts[n % 64].prompt, n // 64, shorts[n % 64].language) for n in range(num)]
    expander = Expander(held, SAMPLING, ROWS_PER_BATCH)
    return [
        compare(
            14,
            f"{num} expansions of up to {SAMPLING.max_new_tokens} tokens, batches of {ROWS_PER_BATCH}",
            "transformers generate, one prompt at a time",
            ours=lambda: expander.expand(requests),
            theirs=lambda: one_by_one(requests, held),
            check=check,
            target=4.0,
        )
    ]
