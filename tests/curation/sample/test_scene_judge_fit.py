import numpy as np
import pytest
import torch

from curation.sample.scene_captions import is_held_out
from curation.sample.scene_judge import SceneJudge, split_logits
from curation.sample.scene_judge_card import judge_accuracy, publish_judge, rules_accuracy
from curation.sample.scene_judge_fit import (
    JudgeFitSettings,
    draw_scenes,
    fit_judge,
    judge_loss,
    soften,
    target_table,
)


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def settings(folder, **changed):
    return JudgeFitSettings(work_folder=folder, **({"num_scenes": 64, "steps": 6, "batch_size": 8} | changed))


def test_what_is_kept_for_evaluation_is_never_trained_on():
    assert not any(is_held_out(scene) for scene in draw_scenes(80, held_out=False, seed=5).scenes)
    assert all(is_held_out(scene) for scene in draw_scenes(8, held_out=True, seed=5).scenes)


class StoppedError(Exception):
    pass


def test_a_run_that_was_stopped_ends_where_an_unbroken_one_does(tmp_path):
    whole = fit_judge(settings(tmp_path / "whole"), print)

    def stop(text):
        if text.startswith("judge step 2 "):
            raise StoppedError

    with pytest.raises(StoppedError):
        fit_judge(settings(tmp_path / "part", checkpoint_every=2), stop)
    said = []
    resumed = fit_judge(settings(tmp_path / "part", checkpoint_every=2), said.append)
    assert said[0] == "judge: goes on after step 2"
    for name, weights in whole.network.state_dict().items():
        assert torch.equal(weights, resumed.network.state_dict()[name]), name


def test_a_finished_run_draws_nothing_again(tmp_path):
    fit_judge(settings(tmp_path), print)
    said = []
    fit_judge(settings(tmp_path), said.append)
    assert said == ["judge: goes on after step 6"]


def test_softening_is_seeded_and_stays_in_range():
    pixels = torch.rand((6, 3, 64, 64), generator=torch.Generator().manual_seed(0)) * 2 - 1
    once, again = (soften(pixels, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(once, again) and once.shape == pixels.shape
    assert once.min() >= -1 and once.max() <= 1 and not torch.equal(once, pixels)
    assert not torch.equal(once, soften(pixels, torch.Generator().manual_seed(4)))


def test_what_a_scene_does_not_have_costs_nothing():
    drawn = draw_scenes(12, held_out=False, seed=8)
    targets = target_table(drawn.scenes)
    logits = torch.randn((12, 56), generator=torch.Generator().manual_seed(0), requires_grad=True)
    judge_loss(logits, targets).backward()
    for at, gradient in enumerate(split_logits(logits.grad).values()):
        assert torch.equal(gradient.abs().sum(1) == 0, targets[:, at] == -100)


def test_the_card_tells_what_was_measured(tmp_path):
    judge = fit_judge(settings(tmp_path / "work"), print)
    figures = publish_judge(judge, settings(tmp_path / "work"), tmp_path / "judge", num_scenes=40)
    assert {figure.material for figure in figures} == {"drawn", "drawn, softened"}
    card = (tmp_path / "judge" / "README.md").read_text()
    for figure in figures:
        assert f"| {figure.name} | {figure.material} | {figure.accuracy:.3f} | {figure.chance:.3f} |" in card
    SceneJudge.load(tmp_path / "judge")


def test_accuracy_counts_only_what_is_asked():
    drawn = draw_scenes(30, held_out=True, seed=2)
    targets = target_table(drawn.scenes).numpy()
    perfect = {}
    for at, (name, part) in enumerate(split_logits(torch.zeros(30, 56)).items()):
        perfect[name] = np.eye(part.shape[1])[np.maximum(targets[:, at], 0)]
    figures = {figure.name: figure for figure in judge_accuracy(perfect, drawn.scenes)}
    assert all(figure.accuracy == 1 for figure in figures.values())
    assert figures["count"].num == sum(len(scene.things) == 1 for scene in drawn.scenes)


def test_the_rules_read_drawn_scenes():
    found = {figure.name: figure for figure in rules_accuracy(draw_scenes(120, held_out=True, seed=3))}
    assert found["asked colour found"].accuracy >= 0.97
    assert found["absent colour not found"].accuracy >= 0.97
    assert found["asked position found"].accuracy >= 0.97 and found["asked position found"].chance < 0.2
