import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pangu.denoiser import PredictionType, from_x0
from pangu.guidance import Guidance, GuidedDenoiser, GuidedRow, guidance_weights
from pangu.padded_batches import SingleRowError
from pangu.time_range import Role, TimeSplit

SCALES = st.floats(-8, 8).map(lambda value: round(value, 3))
X_T = torch.randn(2, 1, 3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
MEANS = {"null": 0.1, "prompt": 0.5, "aesthetic": 0.9, "cartoon": -0.4}
PLACES = {name: place for place, name in enumerate(MEANS)}


def rule(scale, styles=None, texture=None, interval=None):
    scales = {Role.STRUCTURE: scale, Role.TEXTURE: scale if texture is None else texture}
    return Guidance(scales, styles or {}, interval)


@pytest.fixture
def guide(gaussian, mean_conditioning):
    """A guided denoiser of rows that share one table of branches."""

    def build(*rules):
        rows = [GuidedRow(guidance, PLACES) for guidance in rules]
        return GuidedDenoiser(gaussian, mean_conditioning(*MEANS.values()), rows, TimeSplit())

    return build


@given(SCALES, st.dictionaries(st.sampled_from(["aesthetic", "cartoon", "oil"]), SCALES))
def test_weights_sum_to_one(scale, styles):
    assert sum(guidance_weights(scale, styles).values()) == pytest.approx(1)


@pytest.mark.parametrize("kind", [PredictionType.EPSILON, PredictionType.V])
def test_two_styles_equal_the_papers_equation_in_every_parameterisation(gaussian, guide, mean_conditioning, kind):
    t, s, s_aes, s_cartoon = 600, 6.0, 4.0, 1.5
    both = rule(s, {"cartoon": s_cartoon, "aesthetic": s_aes})
    guided = guide(both, both)(X_T, t)
    said = {
        name: from_x0(gaussian(X_T, t, mean_conditioning(m, m)), X_T, t, kind, gaussian.schedule)
        for name, m in MEANS.items()
    }
    equation = said["null"] + s * (said["prompt"] - said["null"])
    equation = equation + s_aes * (said["aesthetic"] - said["prompt"]) + s_cartoon * (said["cartoon"] - said["prompt"])
    assert torch.allclose(from_x0(guided, X_T, t, kind, gaussian.schedule), equation, atol=1e-6)


def test_a_style_of_zero_is_plain_guidance_and_is_not_evaluated(gaussian, guide):
    expected = guide(rule(6.0), rule(6.0))(X_T, 300)
    assert gaussian.num_rows == 4
    assert torch.equal(guide(rule(6.0, {"aesthetic": 0.0}), rule(6.0))(X_T, 300), expected)
    assert gaussian.num_rows == 8


def test_each_row_pays_for_its_own_branches_and_keeps_its_own_scales(gaussian, guide):
    rules = [rule(2.0), rule(5.0, {"aesthetic": 1.0})]
    together = guide(*rules)
    result = together(X_T, 400)
    assert together.evaluations == [2, 3]
    assert gaussian.num_rows == 5
    for row, guidance in enumerate(rules):
        assert torch.equal(guide(guidance)(X_T[row : row + 1], 400)[0], result[row])


def test_scale_one_needs_no_unconditional_row():
    assert guidance_weights(1.0, {}) == {"prompt": 1.0}
    assert guidance_weights(0.0, {}) == {"null": 1}
    assert rule(1.0).branches == {"prompt"}
    assert rule(0.0, interval=(1, 2)).branches == {"null", "prompt"}


@pytest.mark.parametrize(("t", "evaluated"), [(799, 3), (300, 3), (800, 1), (299, 1)])
def test_outside_the_interval_the_prompt_alone_is_evaluated(gaussian, guide, mean_conditioning, t, evaluated):
    guided = guide(rule(6.0, {"aesthetic": 2.0}, interval=(300, 800)))(X_T[:1], t)
    assert gaussian.num_rows == evaluated
    alone = gaussian(X_T[:1], t, mean_conditioning(MEANS["prompt"]))
    assert torch.equal(guided, alone) == (evaluated == 1)


def test_the_expert_that_runs_decides_the_scale(guide):
    split_scale = guide(rule(6.0, texture=2.0))
    assert torch.equal(split_scale(X_T[:1], 500), guide(rule(6.0))(X_T[:1], 500))
    assert torch.equal(split_scale(X_T[:1], 499), guide(rule(2.0))(X_T[:1], 499))


def test_the_order_in_which_styles_are_named_changes_no_bit(guide):
    forth, back = {"aesthetic": 0.7, "cartoon": 1.3}, {"cartoon": 1.3, "aesthetic": 0.7}
    assert torch.equal(guide(rule(6.0, forth))(X_T[:1], 200), guide(rule(6.0, back))(X_T[:1], 200))


def test_an_evaluation_that_does_not_fit_is_named_by_its_row(guide):
    guided = guide(rule(6.0), rule(6.0, {"aesthetic": 1.0}))

    def refuse(x_t, t, conditioning):
        raise SingleRowError(4)

    guided.denoiser = refuse
    with pytest.raises(SingleRowError) as caught:
        guided(X_T, 100)
    assert caught.value.row == 1


def test_a_style_may_not_take_a_plain_branchs_name():
    with pytest.raises(ValueError, match="reserved"):
        guidance_weights(6.0, {"null": 1.0})
