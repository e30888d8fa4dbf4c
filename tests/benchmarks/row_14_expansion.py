"""Row 14: expansions of prompts, batched on Ray Data against one by one with transformers' `generate`, same texts.

A model of the sample's shape with random weights, two worker processes of one thread each against one process of one
thread. Both sides draw every token by the prompt's own uniforms; the texts are compared.
"""

import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import GenerationConfig, LogitsProcessorList

from curation.sample.scene_prompts import scene_pairs, short_prompts
from pangu.expansion import Expander, ExpansionRequest, RowSampler, Sampling, row_uniforms
from pangu.language_model import LanguageModel, build_language_model, load_language_model
from tests.benchmarks.interleaved import BenchmarkRow, compare

WORKERS, ROWS_PER_BATCH, PER_BLOCK = 2, 32, 64
SAMPLING = Sampling(temperature=1.0, top_p=0.95, max_new_tokens=48)


class ExpandBlock:
    """A Ray Data worker: one model, batches of many prompts."""

    def __init__(self, folder: str) -> None:
        torch.set_num_threads(1)
        self.expander = Expander(load_language_model(folder), SAMPLING, ROWS_PER_BATCH)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        rows = zip(batch["prompt"], batch["seed"], batch["language"], strict=True)
        texts = self.expander.expand([ExpansionRequest(str(p), int(s), str(language)) for p, s, language in rows])
        return {"place": batch["place"], "text": texts}


def batched(requests: list[ExpansionRequest], folder: str) -> list[str]:
    """Every text by Ray Data's workers."""
    import ray

    rows = [
        {"place": place, "prompt": r.prompt, "seed": r.seed, "language": r.language} for place, r in enumerate(requests)
    ]
    dataset = ray.data.from_items(rows, override_num_blocks=-(-len(rows) // PER_BLOCK)).map_batches(
        ExpandBlock,
        fn_constructor_args=(folder,),
        batch_size=PER_BLOCK,
        compute=ray.data.ActorPoolStrategy(size=WORKERS),
        num_cpus=1,
    )
    found = {int(row["place"]): str(row["text"]) for row in dataset.iter_rows()}
    return [found[place] for place in range(len(requests))]


def one_by_one(requests: list[ExpansionRequest], held: LanguageModel) -> list[str]:
    """Every text by a call of its own, as transformers' examples do it."""
    config = GenerationConfig(
        do_sample=False, max_new_tokens=SAMPLING.max_new_tokens, eos_token_id=held.end_id, pad_token_id=held.pad_id
    )
    texts = []
    for request in requests:
        tokens = torch.tensor([held.prompt_tokens(request.prompt, request.language)])
        uniforms = row_uniforms(request, SAMPLING.max_new_tokens)[None]
        sampler = RowSampler(np.asarray(uniforms), tokens.shape[1], SAMPLING)
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
    import ray

    os.environ.setdefault("RAY_AUTH_MODE", "token")
    num = 2048 if full else 256
    torch.set_num_threads(1)
    pairs = scene_pairs(400)
    held = build_language_model([text for pair in pairs for text in (pair.short.prompt, pair.enriched)])
    shorts = short_prompts(128)
    requests = [ExpansionRequest(shorts[n % 128].prompt, n // 128, shorts[n % 128].language) for n in range(num)]
    ray.init("local", num_cpus=4, include_dashboard=False, log_to_driver=False)
    ray.data.DataContext.get_current().enable_progress_bars = False
    try:
        with tempfile.TemporaryDirectory() as name:
            held.save(Path(name))
            row = compare(
                14,
                f"{num} expansions of up to {SAMPLING.max_new_tokens} tokens, {WORKERS} workers, start included",
                "transformers generate, one prompt at a time, one process",
                ours=lambda: batched(requests, name),
                theirs=lambda: one_by_one(requests, held),
                check=check,
                target=4.0,
                starts_cold=True,
            )
    finally:
        ray.shutdown()
    return [row]
