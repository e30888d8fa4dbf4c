"""The judge's bookkeeping of fusions, with members that draw the right scene, or the wrong one, by themselves."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from curation.sample.scene_judge import SceneJudge
from pangu.autoencoder import to_pixels
from pangu.fusion_request import Member
from pangu.latent_bridge import PixelSpace
from pangu.noise_schedule import NoiseSchedule
from pangu.prompted_model import PromptedModel
from ray_jobs.fusion_report import grid, write_fusion_report
from ray_jobs.fusion_scenes import draw_one, draw_training, edges_of, example_for, single_scene
from ray_jobs.job_configs import SAMPLE_MODELS
from ray_jobs.judge_fusion import TELLS, CaseReport, JudgedCase, judge_case, kept_figure, parse_case, requests_of
from ray_jobs.judge_fusion import scores_of as judged_scores


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def evaluation_scenes(count):
    rng = np.random.default_rng(97)
    return [single_scene(rng, held_out=True) for _ in range(count)]


class Painter:
    """Draws exactly the pictures it is given, in the order of what it is told."""

    space, default_size, num_conditions = PixelSpace(), (64, 64), 0

    def __init__(self, pictures):
        self.pictures = pictures

    def check_size(self, size):
        assert size == (64, 64)

    def told(self, rows, size):
        target = to_pixels(np.stack([self.pictures[row.prompt] for row in rows]))
        return PromptedModel(lambda x_t, t: target.to(x_t), self.space, NoiseSchedule(), size)


@pytest.fixture(scope="module")
def judge():
    return SceneJudge.load(SAMPLE_MODELS / "judge")


def painters(scenes):
    """The first member draws the asked scene, the second another; and the first one's pictures by their words."""
    right = {TELLS["layout"].words(s, n): draw_one(s, n) for n, s in enumerate(scenes)}
    wrong = {TELLS["colours"].words(s, n): draw_one(scenes[n - 1], n) for n, s in enumerate(scenes)}
    return {"layout": Member("layout", Painter(right)), "colours": Member("colours", Painter(wrong))}, right


def test_figures_are_solo_fused_and_the_other_members(judge):
    scenes = evaluation_scenes(12)
    case = parse_case("layout+colours", None)
    members, right = painters(scenes)
    said = []
    report, pictures = judge_case(case, members, scenes, judge, (0.5,), 2, 4, said.append)
    assert list(pictures) == ["layout alone", "colours alone", "d = 0.5"]
    layout, colours = report.figures
    expected = judged_scores(
        judge, [right[TELLS["layout"].words(s, n)] for n, s in enumerate(scenes)], scenes, case.tells[0]
    )
    assert layout.solo.value == pytest.approx(expected.mean())
    assert (layout.num, layout.weight) == (12, 0.5)
    assert layout.solo.value > 0.9 > layout.control.value
    assert colours.solo.value < 0.6 < colours.control.value
    assert report.rule_colour["layout alone"] > 0.9 > report.rule_colour["colours alone"]
    assert said


def test_the_second_members_weight_ends_where_it_is_told_to(judge):
    scenes = evaluation_scenes(12)
    members, _ = painters(scenes)
    fused = {}
    for full_until, zero_from in ((2.0, 1.0), (500.0, 200.0)):
        case = replace(parse_case("layout+colours", None), full_until=full_until, zero_from=zero_from)
        report, _ = judge_case(case, members, scenes, judge, (1.0,), 8, 4, lambda said: None)
        fused[zero_from] = report.figures[0].fused.value
    assert fused[1.0] < 0.6 < 0.9 < fused[200.0]


@pytest.mark.parametrize(
    ("fused", "control", "holds"), [(0.95, 0.1, True), (0.85, 0.1, False), (0.95, 0.94, False), (0.91, 0.5, True)]
)
def test_a_condition_is_kept_at_nine_tenths_and_above_the_control(fused, control, holds):
    def of(rate):
        return np.repeat([1.0, 0.0], [round(200 * rate), 200 - round(200 * rate)])

    figure = kept_figure("layout", 0.5, of(1.0), of(fused), of(control))
    assert figure.holds is holds
    assert figure.kept.value == pytest.approx(fused)
    assert figure.kept.low < fused < figure.kept.high


def test_both_members_are_told_the_same_scene_in_two_languages():
    scenes = evaluation_scenes(2)
    for number, request in enumerate(requests_of(parse_case("edges+palette", None), scenes, 0.5, 3)):
        words = [part.prompt for part in request.members]
        assert [any(ord(letter) > 0x2E80 for letter in said) for said in words] == [number == 1, number == 0]
        assert request.seed == number
        assert [part.condition_images[0].shape for part in request.members] == [(64, 64, 3)] * 2
    joint = requests_of(parse_case("edges+palette", "both"), scenes, None, 3)[0]
    assert [part.name for part in joint.members] == ["both"]
    assert len(joint.members[0].condition_images) == 2


@pytest.mark.parametrize(("text", "message"), [("layout", "expected first"), ("layout+taste", "got 'taste'")])
def test_a_case_that_is_none_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        parse_case(text, None)
    assert parse_case("pair:layout+other:colours", None) == JudgedCase(
        "pair", "other", (TELLS["layout"], TELLS["colours"])
    )


def test_a_grid_shows_members_of_every_size_at_the_largest_one():
    small, large = np.zeros((2, 2, 3), np.uint8), np.zeros((4, 4, 3), np.uint8)
    small[0, 0], large[3, 3] = 200, 100
    shown = grid([[small, small], [large, large]])
    assert shown.shape == (8, 8, 3)
    assert (shown[:2, :2] == 200).all() and not shown[2:4].any()
    assert np.flatnonzero(shown[7, :, 0]).tolist() == [3, 7]


def test_curves_run_along_d_in_whatever_order_it_was_measured(tmp_path):
    values = {0.8: 0.9, 0.5: 0.3, 0.7: 0.6}
    row = np.ones(4)
    figures = tuple(kept_figure("layout", weight, row, row * value, row * 0.1) for weight, value in values.items())
    pictures = {"layout alone": [np.zeros((8, 8, 3), np.uint8)]}
    write_fusion_report(CaseReport(case="layout+colours", steps=2, figures=figures), pictures, tmp_path)
    places = [float(x) for x in re.findall(r'cx="([\d.]+)"', (tmp_path / "layout-colours.svg").read_text())]
    assert len(places) == 3 and places == sorted(places)


def test_training_scenes_and_examples_keep_to_their_own():
    drawn = draw_training(6, seed=3)
    assert drawn.images.shape == (6, 64, 64, 3)
    rng = np.random.default_rng(0)
    for scene, seed in zip(drawn.scenes, drawn.seeds, strict=True):
        other = example_for(scene, rng)
        assert other.things[0].kind != scene.things[0].kind
        assert (other.background, other.style, other.things[0].colour) == (
            scene.background,
            scene.style,
            scene.things[0].colour,
        )
        assert edges_of(scene, seed).shape == (64, 64, 3)
