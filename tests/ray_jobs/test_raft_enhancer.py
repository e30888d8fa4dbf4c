"""The enhancer's chain on a narrow random pair: what is stored, what wins, what stops it, what is published."""

import json
from pathlib import Path

import numpy as np
import pytest

from curation.decode import decode_rgb
from pangu.raft import pick_winners, total_rewards
from ray_jobs.config import job_settings
from ray_jobs.enhancer_configs import RaftEnhancer
from ray_jobs.errors import JobError
from ray_jobs.job_configs import SAMPLE_MODELS
from ray_jobs.parts import read_rows
from ray_jobs.raft_rows import RAFT_ROWS, prompts_of_round, read_raft_prompts
from ray_jobs.versions import Versions
from tests.ray_jobs.generation_job import RECORDS, InProcess
from tests.ray_jobs.raft_job import RAFT, Enhancing, without_ray, write_files


@pytest.fixture(scope="module")
def enhancing(tmp_path_factory, tiny_base, generator):
    """A store with a narrow pair and prompts, whose jobs run in this process."""
    with pytest.MonkeyPatch.context() as patch:
        without_ray(patch, generator)
        made = InProcess(tmp_path_factory.mktemp("enhancing") / "store", tiny_base)
        made.register(RECORDS)
        yield Enhancing(made.store)


@pytest.fixture(scope="module")
def played(enhancing):
    enhancing.teach()
    return enhancing, enhancing.raft()


def test_pairs_are_registered_with_their_faults(enhancing, tmp_path):
    path = tmp_path / "pairs.jsonl"
    good = {
        "short": "a red ball",
        "enriched": "a red ball in deep snow",
        "language": "en",
        "author": "x",
        "licence": "CC0-1.0",
    }
    path.write_text("\n".join(json.dumps(row) for row in (good, good | {"licence": ""}, good)))
    found = enhancing.run("register_pairs", path=str(path), starter=True, scene_pairs=0)
    rows = {(r["source"], r["number"]): r for r in read_rows(enhancing.store, found).to_pylist()}
    assert found.counts == {"in": 211, "kept": 209, "licence": 1, "duplicate": 1}
    assert rows["file", 3]["detail"] == "of row 1" and rows["file", 2]["detail"] == "missing"
    assert "file row 2: licence: missing" in found.facts["faults"]
    with pytest.raises(JobError, match=r"2 of 3 rows have a fault.*file row 2: licence: missing"):
        enhancing.run("register_pairs", path=str(path), starter=False, scene_pairs=0)
    with pytest.raises(ValueError, match="state the one of what its annotators wrote"):
        job_settings("register_pairs", "sample", {"label_studio": "export.json"})


def test_supervised_fine_tuning_tells_its_losses_and_leaves_held_out_pairs_alone(enhancing):
    found = enhancing.teach(text_steps=3)
    rows = read_rows(enhancing.store, Versions(enhancing.store).latest("pairs")).to_pylist()
    kept = [row for row in rows if row["reason"] is None]
    assert found.facts["held_out_pairs"] == sum(row["held_out"] for row in kept) >= 6
    assert found.facts["pairs"] == len(kept) - found.facts["held_out_pairs"]
    assert len(found.facts["losses"]) == 123
    assert (
        found.facts["held_out_loss_after"]
        < found.facts["held_out_loss_after_texts"]
        < found.facts["held_out_loss_before"]
    )


def test_every_candidate_picture_and_reward_is_kept_and_the_winners_follow_from_them(played):
    enhancing, version = played
    rows = read_rows(enhancing.store, version).to_pylist()
    arms = {(row["round"], row["arm"]) for row in rows}
    assert arms == {(0, "original"), (0, "sft")} | {(n, a) for n in (1, 2) for a in ("train", "winners", "enhanced")}
    weights = RaftEnhancer().weights
    for number in (1, 2):
        train = [row for row in rows if (row["round"], row["arm"]) == (number, "train")]
        assert len(train) == 4 * 3
        for row in train:
            assert (row["image"] is None) == (row["rewards"] is None) == (row["reason"] is not None)
            assert row["judge"] is None, "the held-out scorer never sees a candidate"
            if row["image"] is not None:
                assert decode_rgb(row["image"]["bytes"]).size == (64, 64)
                assert set(json.loads(row["rewards"])) == {"aesthetic", "clip_similarity"}
        ranked = sorted((r for r in rows if (r["round"], r["arm"]) == (number, "winners")), key=lambda r: r["key"])
        by_prompt = {}
        for row in sorted(train, key=lambda r: r["key"]):
            by_prompt.setdefault(row["prompt_id"], []).append(row)
        for prompt_id, candidates in by_prompt.items():
            usable = np.array([[row["fault"] is None and row["rewards"] is not None for row in candidates]])
            rewards = {
                name: np.array([[json.loads(row["rewards"] or "{}").get(name, np.nan) for row in candidates]])
                for name in weights
            }
            best = pick_winners(total_rewards(rewards, weights, usable))[0]
            won = [row["candidate"] for row in ranked if row["prompt_id"] == prompt_id and row["is_winner"]]
            assert won == ([] if best < 0 else [best])


def test_arms_share_their_noise_and_the_held_out_prompts_are_never_taught(played):
    enhancing, version = played
    rows = read_rows(enhancing.store, version).to_pylist()
    seeds = {}
    for row in rows:
        if row["arm"] in ("original", "sft", "enhanced"):
            seeds.setdefault(row["prompt_id"], set()).add(row["image_seed"])
    assert len(seeds) == 6 and all(len(each) == 1 for each in seeds.values())
    taught = {row["prompt"] for row in rows if row["arm"] == "train"}
    assert not taught & {row["prompt"] for row in rows if row["arm"] == "original"}
    assert all(row["text"] == row["prompt"] for row in rows if row["arm"] == "original")


def test_figures_and_models_stand_in_the_facts(played):
    _, version = played
    figures = version.facts["figures"]
    assert [each["round"] for each in figures] == [0, 1, 2] and {each["n"] for each in figures} == {6}
    assert figures[0]["wins_over_sft"]["value"] == 0.5
    assert set(figures[1]["seconds"]) == {"expand", "draw and score", "rank", "tune"}
    assert len(version.facts["models"]) == 3 and version.facts["stopped"] == "done"


def test_a_run_again_gives_the_same_rows(played):
    enhancing, version = played
    prompts = {"prompts": str(write_files(Path(enhancing.store.root).parent)[1])}
    context = enhancing.context("raft_enhancer", **RAFT | prompts | {"prompts_per_part": 3})
    assert context.plan.key == version.key, "how many go into a part decides no row"
    assert enhancing.context("raft_enhancer", **RAFT | prompts | {"seed": 1}).plan.key != version.key


def test_a_round_draws_its_own_prompts(enhancing):
    config = enhancing_config()
    taught, held_out = read_raft_prompts(config)
    first, second = (prompts_of_round(taught, config, number) for number in (1, 2))
    assert len(first) == len(second) == 4 and first != second and first == prompts_of_round(taught, config, 1)
    assert len(held_out) == 6 and len(taught) > 100


def enhancing_config(**settings):
    from ray_jobs.config import check_settings

    return check_settings("raft_enhancer", job_settings("raft_enhancer", "sample", RAFT | settings))


def test_a_prompt_file_is_split_by_ids(tmp_path):
    path = tmp_path / "prompts.txt"
    path.write_text("\n".join(f"a red ball number {n}" for n in range(20)))
    taught, held_out = read_raft_prompts(enhancing_config(prompts=str(path)))
    assert len(held_out) == 6 and len(taught) == 14
    assert not {p["prompt_id"] for p in taught} & {p["prompt_id"] for p in held_out}
    with pytest.raises(ValueError, match="has 20 usable ones; accepted are at least"):
        read_raft_prompts(enhancing_config(prompts=str(path), num_held_out=19))


def test_the_scorer_that_rewards_may_not_judge(played):
    enhancing, _ = played
    with pytest.raises(ValueError, match="is the CLIP that gives the rewards"):
        enhancing.raft(judge=str(SAMPLE_MODELS / "scorer"))
    with pytest.raises(ValueError, match="weights: got"):
        enhancing_config(weights={"beauty": 1.0})


def test_the_best_round_is_published_and_becomes_candidate_only_if_it_wins(played, monkeypatch):
    from ray_jobs import publish_enhancer

    enhancing, version = played
    versions = Versions(enhancing.store)
    published = enhancing.run("publish_enhancer", round=1)
    assert published.facts["round"] == 1 and published.facts["compared_with"] == "the supervised model"
    card = json.loads(enhancing.store.read(f"{published.prefix}/{published.folder}/enhancer.json"))
    assert card["facts"]["win_rate"] == version.facts["figures"][1]["wins_over_sft"]
    assert not published.facts["wins"] and not enhancing.store.names("aliases/enhancer/candidate")
    told = publish_enhancer.describe
    monkeypatch.setattr(publish_enhancer, "describe", lambda *given: told(*given) | {"wins": True})
    better = enhancing.run("publish_enhancer", round=2)
    assert versions.resolve("enhancer@candidate") == better
    with pytest.raises(JobError, match="the rounds go from 0 to 2"):
        enhancing.run("publish_enhancer", round=7)
    versions.promote(published, "champion")
    again = enhancing.raft(champion="champion", rounds=1)
    assert again.inputs["champion:enhancer"].key == published.key
    assert again.facts["figures"][1]["wins_over_champion"] is not None
    arms = set(read_rows(enhancing.store, again, ["arm"]).column("arm").to_pylist())
    assert "champion" in arms


def test_the_rows_have_one_schema(played):
    enhancing, version = played
    assert read_rows(enhancing.store, version).schema.names == RAFT_ROWS.names


def test_prompts_are_enhanced_in_batch_with_both_texts_kept(played):
    enhancing, _ = played
    published = enhancing.run("publish_enhancer")
    generated = enhancing.run(
        "generate_images", enhance="enhancer", steps=1, guidance=1.0, batch_size=2, images_per_part=4
    )
    assert generated.inputs["enhancer"].digest == published.digest
    rows = {row["prompt_id"]: row for row in read_rows(enhancing.store, generated).to_pylist()}
    plain = enhancing.run("generate_images", steps=1, guidance=1.0, batch_size=2, images_per_part=4)
    before = {row["prompt_id"]: row for row in read_rows(enhancing.store, plain).to_pylist()}
    assert rows["square-0"]["prompt"] == before["square-0"]["prompt"] == "a red ball 0"
    assert rows["square-0"]["enhanced_prompt"] and before["square-0"]["enhanced_prompt"] is None
    for name, row in rows.items():
        same = row["image_sha256"] == before[name]["image_sha256"]
        assert same == (row["enhanced_prompt"] in (None, row["prompt"])), name
