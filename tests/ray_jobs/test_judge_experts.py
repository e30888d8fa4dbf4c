"""The judging of an expert pair, end to end on the carried pair with few steps."""

import json
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from curation.sample.scene_captions import is_held_out
from curation.sample.scene_judge import SceneJudge
from curation.sample.scenes import Scene
from pangu.generate import Generator
from pangu.pipeline import load_experts
from ray_jobs.job_configs import PREFIXES, SAMPLE_MODELS
from ray_jobs.judge_experts import kid_features, main, run
from ray_jobs.judge_figures import JudgeSettings
from ray_jobs.judge_measures import (
    Judging,
    drawn_references,
    judged_prompts,
    size_of,
    structure_alone,
    styled_requests,
    through_autoencoder,
)

SETTINGS = JudgeSettings(
    prompts=8,
    steps=4,
    sweep_prompts=2,
    rows_per_batch=4,
    sweep_scales=(0, 6),
    sweep_styles=("cartoon",),
    references_per_prompt=2,
)


@pytest.fixture(scope="module")
def pipeline():
    torch.set_num_threads(1)
    return load_experts(SAMPLE_MODELS / "experts")


@pytest.fixture(scope="module")
def judging(pipeline):
    prompts = judged_prompts(8, 0)
    scenes = [Scene.from_json(prompt.attributes) for prompt in prompts]
    return Judging(pipeline, SceneJudge.load(SAMPLE_MODELS / "judge"), SETTINGS, prompts, scenes, print, {})


def test_prompts_are_held_out_and_in_both_languages():
    prompts = judged_prompts(96, 0)
    assert all(is_held_out(Scene.from_json(prompt.attributes)) for prompt in prompts)
    assert sum(prompt.language == "zh" for prompt in prompts) == 48
    assert len({size_of(prompt) for prompt in prompts}) >= 8
    assert sum(size_of(prompt) == (64, 64) for prompt in prompts) >= 72


def test_a_style_is_asked_by_prefix_or_by_guidance_with_the_same_noise(judging):
    by_prefix = styled_requests(judging, SETTINGS)
    by_guidance = styled_requests(judging, SETTINGS.model_copy(update={"style_scale": 4.0}))
    for prompt, one, other in zip(judging.prompts, by_prefix, by_guidance, strict=True):
        assert one.prompt == PREFIXES[prompt.style] + prompt.prompt and one.styles == {}
        assert other.prompt == prompt.prompt and other.styles == {prompt.style: 4.0}
        assert one.seed == other.seed
    assert len({request.seed for request in by_prefix}) == 8


def test_the_structure_expert_alone_differs_only_in_the_clean_half(pipeline, judging):
    request = styled_requests(judging, SETTINGS)[:1]
    alone = structure_alone(pipeline)
    assert alone.texture is pipeline.structure and alone.card == pipeline.card
    latents = {}
    for name, one in (("pair", pipeline), ("alone", alone)):
        generator = Generator(one, rows_per_batch=1)
        seen = latents[name] = {}
        for role, expert in generator._relay.experts.items():
            generator._relay.experts[role] = lambda x, t, c, expert=expert, seen=seen: (
                expert(x, t, c) if seen.setdefault(t, x.clone()) is not None else x
            )
        generator.generate(request)
    same = {t: torch.equal(x, latents["alone"][t]) for t, x in latents["pair"].items()}
    assert same == {999: True, 749: True, 499: True, 249: False}  # 499, the first clean step, starts from equal latents


def test_references_have_the_prompts_sizes_and_other_scenes(judging):
    references = drawn_references(judging.prompts, SETTINGS)
    sizes = [size_of(prompt) for prompt in judging.prompts for _ in range(2)]
    assert [image.shape[:2] for image in references] == sizes


def test_the_autoencoder_leaves_size_and_place(pipeline):
    image = np.full((64, 32, 3), 230, np.uint8)
    image[16:48, 8:24] = (220, 40, 40)
    decoded = through_autoencoder(pipeline.vae, [image])[0].astype(int)
    redness = decoded[..., 0] - decoded[..., 2]
    assert decoded.shape == image.shape
    assert redness[32, 16] > 80 > abs(redness[2, 2])


def test_the_report_holds_every_measurement(tmp_path):
    report = run(
        SAMPLE_MODELS / "experts",
        tmp_path,
        SETTINGS.model_copy(update={"guidances": (2.0,), "steps": 2}),
        judge=SAMPLE_MODELS / "judge",
        extractor=kid_features(None),
        say=print,
    )
    facts = json.loads((tmp_path / "figures.json").read_text())
    assert set(facts["pair"]) == {"all", "en", "zh"} and set(facts["by_guidance"]) == {"2"}
    numbers = {row["aspect"]: row["num"] for row in facts["pair"]["all"]}
    assert numbers["background"] == numbers["rule_colour"] == 8
    assert sum(row["num"] for name in ("en", "zh") for row in facts["pair"][name] if row["aspect"] == "shape") == 8
    assert report.comparison.num_references == 16 and set(report.comparison.kid) == {
        "pair",
        "alone",
        "drawn",
        "decoded",
    }
    likelihood = report.comparison.likelihood
    assert likelihood["drawn"] > likelihood["pair"] and likelihood["drawn"] > likelihood["decoded"]
    difference = likelihood["pair"] - likelihood["alone"]
    assert report.comparison.likelihood_difference.value == pytest.approx(difference)
    assert [trend.style for trend in report.trends] == ["cartoon"] and len(report.trends[0].rates) == 2
    text = (tmp_path / "report.md").read_text()
    for heading in (
        "## Pair, zh",
        "structure expert alone",
        "Mean log-probability",
        "along s_cartoon",
        "## By guidance",
    ):
        assert heading in text
    for name, size in {"prompts_pair": (8 * 168, 218), "sweep_cartoon": (3 * 168, 2 * 168 + 28)}.items():
        with Image.open(tmp_path / f"{name}.png") as grid:
            assert grid.size == size


def test_a_wrong_setting_is_refused_in_a_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["judge_experts", "--output", str(tmp_path), "--prompts", "3"])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 2 and "prompts" in capsys.readouterr().err
