"""Every member of the sample is trained for a few steps, written, declared and drawn with."""

import argparse
import sys
import tomllib
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from curation.sample.scene_captions import is_held_out
from pangu.fusion_request import FusionRequest, MemberRequest, fuse
from pangu.member_file import load_members
from pangu.pipeline import load_experts
from pangu.text_encoder import ClipTextEncoder
from ray_jobs import fit_fusion_members
from ray_jobs.fusion_member_file import declarations
from ray_jobs.fusion_scenes import draw_training, edges_of
from ray_jobs.job_configs import SAMPLE_MODELS


def test_members_of_one_knowledge_see_every_combination_and_controls_none_of_those_kept_back(tmp_path):
    fitting = fit_fusion_members.Fitting(argparse.Namespace(num_scenes=40, work=tmp_path), lambda text: None)
    seen = {member: [is_held_out(scene) for scene in fitting.drawn(member).scenes] for member in ("layout", "edges")}
    assert any(seen["layout"]) and not any(seen["edges"]) and len(seen["edges"]) == 40


def test_members_are_told_their_words_by_the_pairs_own_text_tower(tmp_path):
    fitting = fit_fusion_members.Fitting(argparse.Namespace(work=tmp_path), lambda text: None)
    (tmp_path / "layout").mkdir()
    (tmp_path / "layout" / "config.json").write_text("{}")
    (declared,) = tomllib.loads(declarations(("layout",), tmp_path, tmp_path))["member"]
    words = ["a red star on the beach"]
    own = load_experts(SAMPLE_MODELS / "experts").text_encoder.encode(words).tokens
    for told_by in (fitting.text, ClipTextEncoder.load(Path(declared["encoder"]))):
        assert torch.equal(told_by.encode(words).tokens, own)


@pytest.mark.shared_data
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.timeout(900)
def test_members_are_trained_declared_and_fused(shared_data, tmp_path, monkeypatch):
    arguments = ["--data", str(shared_data), "--work", str(tmp_path), "--num-scenes", "40", "--steps", "2"]
    monkeypatch.setattr(sys, "argv", ["fit_fusion_members", *arguments])
    starts, start_from = [], fit_fusion_members.start_from
    monkeypatch.setattr(fit_fusion_members, "start_from", lambda unet, at: (starts.append(at), start_from(unet, at)))
    fit_fusion_members.main()
    assert starts == [tmp_path / "colours", tmp_path / "layout"], "shapes goes on from colours, example from layout"
    members = load_members(tmp_path / "members.toml")
    assert set(members) == {*fit_fusion_members.MEMBERS, "edges_and_palette"}
    assert [members[name].guidance for name in ("layout", "shapes", "colours", "example")] == [5.0, 5.0, 2.0, 3.0]
    drawn = draw_training(1, seed=3)
    edges = (edges_of(drawn.scenes[0], drawn.seeds[0]),)
    parts = [
        MemberRequest("edges", "a star", condition_images=edges),
        MemberRequest("layout", "a star"),
        MemberRequest("colours", "something red in the snow"),
        MemberRequest("shapes", "a star"),
        MemberRequest("example", condition_images=(drawn.images[0],)),
    ]
    for first, second in pairwise(parts):
        side = 128 if first.name in ("colours", "shapes") else 64
        assert fuse(members, [FusionRequest((first, second), steps=2)])[0].shape == (side, side, 3)
    fit_fusion_members.main()  # finds everything and trains nothing
