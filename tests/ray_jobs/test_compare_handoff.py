import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from pangu.evaluation.random_features import RandomFeatures
from pangu.latent_bridge import PixelSpace
from pangu.noise_schedule import NoiseSchedule
from pangu.prompted_model import PromptedModel
from ray_jobs.compare_handoff import HandOffReport, Scorers, compare, ways_of
from ray_jobs.handoff_report import markdown
from ray_jobs.handoff_stages import HandOffSettings, Stages
from ray_jobs.sweep_plot import Curve, plot_curves


class Grey:
    """Draws one grey by a real convolution, so that its work can be counted."""

    space, num_conditions = PixelSpace(), 0

    def __init__(self, grey, size):
        self.default_size = size
        torch.manual_seed(0)
        self.layer = torch.nn.Conv2d(3, 3, 3, padding=1).requires_grad_(False)
        self.grey = grey

    def check_size(self, size):
        """Any size."""

    def told(self, rows, size):
        def denoise(x_t, t):
            return self.grey + 0.05 * self.layer(x_t).tanh()

        return PromptedModel(denoise, self.space, NoiseSchedule(), size)


@pytest.fixture
def stages():
    return Stages(Grey(-0.5, (8, 8)), Grey(0.5, (16, 16)), (8, 8), (16, 16), list("abcdefgh"))


GIVEN = HandOffSettings(prompts=8, steps=4, seeds=(0, 1), sweep=(0.0, 500.0), rows_per_batch=2)


def test_every_way_is_measured_with_its_cost_and_written(stages, tmp_path):
    extractor = RandomFeatures()
    bright = [np.full((16, 16, 3), 190 + n, np.uint8) for n in range(8)]
    scorers = Scorers(extractor, None, extractor.extract(bright).features)
    report = compare(stages, GIVEN, scorers, tmp_path, lambda _: None)
    by_name = {way.way: way for way in report.ways}
    assert list(by_name) == ["hand-off", "second pass", "upsampled", "large alone"]
    assert by_name["upsampled"].kid > by_name["hand-off"].kid  # only the large model draws as bright as the references
    assert all(each.value < 0 for each in report.differences["upsampled"])
    together, by_seed = report.together["upsampled"], report.differences["upsampled"]
    assert together.high < 0 and min(each.low for each in by_seed) < together.value < max(each.high for each in by_seed)
    convolution = 2 * 3 * 3 * 9 / 1e12  # operations of one output pixel
    expected = {
        "hand-off": convolution * (3 * 64 + 3 * 256),
        "second pass": convolution * (4 * 64 + 3 * 256),
        "upsampled": convolution * 4 * 64,
        "large alone": convolution * 4 * 256,
    }
    assert {name: way.teraflops for name, way in by_name.items()} == pytest.approx(expected)
    assert all(way.seconds > 0 and len(way.kid_by_seed) == 2 for way in report.ways)
    assert [(way.stop, way.restart) for way in report.sweep] == [(0, 0), (500, pytest.approx(693, abs=1))]
    stored = HandOffReport.model_validate_json((tmp_path / "figures.json").read_text("utf-8"))
    assert stored == report
    assert "| second pass |" in (tmp_path / "report.md").read_text("utf-8")
    assert (tmp_path / "grid.png").is_file()
    assert "KID" in (tmp_path / "sweep.svg").read_text("utf-8")
    assert markdown(report, stages.texts).count("\n| T_low") == 1


def test_another_models_second_pass_is_a_way_too(stages, tmp_path):
    def bright(pictures, texts, seeds, steps, guidance):
        assert len(pictures) == len(texts) == len(seeds) and pictures[0].shape == (8, 8, 3)
        return [np.full((32, 32, 3), 193, np.uint8) for _ in pictures]

    extractor = RandomFeatures()
    scorers = Scorers(
        extractor, None, extractor.extract([np.full((16, 16, 3), 190 + n, np.uint8) for n in range(8)]).features
    )
    given = GIVEN.model_copy(update={"sweep": ()})
    report = compare(replace(stages, upscale=bright), given, scorers, tmp_path, lambda _: None)
    by_name = {way.way: way for way in report.ways}
    assert list(by_name)[-1] == "upscaler" and "upscaler" in report.differences
    assert by_name["upscaler"].kid < by_name["upsampled"].kid
    assert by_name["upscaler"].teraflops == pytest.approx(2 * 3 * 3 * 9 / 1e12 * 4 * 64), "the small picture's steps"


def test_the_second_pass_begins_where_the_hand_off_goes_on(stages):
    ways = ways_of(stages, GIVEN)
    assert ways["second pass"].restart == ways["hand-off"].restart == pytest.approx(693, abs=1)
    assert ways_of(stages, GIVEN.model_copy(update={"second_pass": 300.0}))["second pass"].restart == 300
    assert json.loads(GIVEN.model_dump_json())["second_pass"] is None


def test_a_plot_names_its_curves_and_refuses_none():
    drawn = plot_curves([Curve("a < b", ((0, 1.0), (1, 2.0)), ((0.5, 1.5), (1.5, 2.5)))], "d")
    assert "a &lt; b" in drawn
    assert drawn.count("<circle") == 2
    assert "<polygon" in drawn
    assert plot_curves([Curve("flat", ((0, 1.0),))], "d").startswith("<svg")
    with pytest.raises(ValueError, match="curves: got"):
        plot_curves([], "d")
