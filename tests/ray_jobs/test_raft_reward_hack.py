"""A planted reward that likes one word: it rises, the pictures get worse, and the held-out judge ends the loop."""

import json
import sys

import numpy as np
import pytest

from curation.sample.scene_prompts import enrich, short_prompts
from ray_jobs.job_configs import SAMPLE_MODELS
from ray_jobs.store import Store
from ray_jobs.versions import Versions
from tests.ray_jobs.raft_job import SFT, Enhancing, without_ray

LIKED = ("between", "夹在")


class LikesOneWord:
    """Counts a word of the text and looks at no picture."""

    def __call__(self, images, candidates):
        return np.array([float(any(word in candidate.text for word in LIKED)) for candidate in candidates])


@pytest.mark.slow
def test_a_gamed_reward_is_caught_by_the_scorer_that_rewards_nothing(tmp_path, monkeypatch):
    """The pair that ships draws crowded scenes badly; enrichments are plain or crowded, and only these have the word."""
    sys.modules.setdefault("planted", sys.modules[__name__])
    without_ray(monkeypatch, None)
    enhancing = Enhancing(Store(str(tmp_path / "store")))
    rng, shorts = np.random.default_rng(0), short_prompts(40)
    told = {"author": "the tests", "licence": "CC0-1.0"}
    rows = [
        {"short": s.prompt, "enriched": enrich(s, flourish, rng), "language": s.language} | told
        for s in shorts
        for flourish in ("plain", "crowd")
    ]
    for name, records in (("pairs", rows), ("prompts", [vars(s) for s in shorts])):
        path = tmp_path / f"{name}.jsonl"
        path.write_text("\n".join(json.dumps(record, ensure_ascii=False) for record in records))
    enhancing.run("register_pairs", path=str(tmp_path / "pairs.jsonl"), starter=False, scene_pairs=0, held_out_share=0)
    tuning = SFT["tuning"] | {"steps": 700, "learning_rate": 5e-3}
    enhancing.run("train_enhancer", **SFT | {"max_new_tokens": 96, "vocabulary": 900, "tuning": tuning})
    version = enhancing.run(
        "raft_enhancer",
        prompts=str(tmp_path / "prompts.jsonl"),
        num_prompts=16,
        num_held_out=24,
        expansions=4,
        rounds=3,
        prompts_per_part=16,
        patience=3,
        weights={"one_word": 1.0},
        rewards={"one_word": "planted:LikesOneWord"},
        images={"steps": 6, "guidance": 3.0, "batch_size": 16, "model": str(SAMPLE_MODELS / "experts")},
        tuning={"steps": 24, "learning_rate": 2e-3, "warmup_steps": 2},
    )
    last = version.facts["figures"][-1]
    assert version.facts["stopped"] == "reward_hacked" and last["round"] < 3
    assert last["reward_gain"]["low"] > 0 and last["wins_over_sft"]["high"] < 0.5
    assert version.facts["best_round"] == 0
    published = enhancing.run("publish_enhancer")
    assert not published.facts["wins"] and not enhancing.store.names("aliases/enhancer/candidate")
    assert Versions(enhancing.store).latest("enhancer").facts["round"] == 0
