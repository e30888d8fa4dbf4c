import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pangu.denoiser import PredictionType, from_x0
from pangu.guidance import Branch, GuidedDenoiser, guidance_weights

SCALES = st.floats(-8, 8).map(lambda value: round(value, 3))
X_T = torch.randn(2, 1, 3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@given(SCALES, st.dictionaries(st.sampled_from(["aesthetic", "cartoon", "oil"]), SCALES))
def test_weights_sum_to_one(scale, styles):
    assert sum(guidance_weights(scale, styles).values()) == pytest.approx(1)


def branches_of(weights, means, mean_conditioning):
    return [Branch(mean_conditioning(means[n], means[n]), torch.tensor([w, w])) for n, w in weights.items()]


MEANS = {"null": 0.1, "prompt": 0.5, "aesthetic": 0.9, "cartoon": -0.4}


@pytest.mark.parametrize("kind", [PredictionType.EPSILON, PredictionType.V])
def test_two_styles_equal_the_papers_equation_in_every_parameterisation(gaussian, mean_conditioning, kind):
    t, s, s_aes, s_cartoon = 600, 6.0, 4.0, 1.5
    weights = guidance_weights(s, {"aesthetic": s_aes, "cartoon": s_cartoon})
    guided = GuidedDenoiser(gaussian, branches_of(weights, MEANS, mean_conditioning))(X_T, t)
    said = {
        name: from_x0(gaussian(X_T, t, mean_conditioning(m, m)), X_T, t, kind, gaussian.schedule)
        for name, m in MEANS.items()
    }
    equation = said["null"] + s * (said["prompt"] - said["null"])
    equation = equation + s_aes * (said["aesthetic"] - said["prompt"]) + s_cartoon * (said["cartoon"] - said["prompt"])
    assert torch.allclose(from_x0(guided, X_T, t, kind, gaussian.schedule), equation, atol=1e-6)


def test_a_style_of_zero_is_plain_guidance_and_is_not_evaluated(gaussian, mean_conditioning):
    plain = branches_of(guidance_weights(6.0, {}), MEANS, mean_conditioning)
    idle = Branch(mean_conditioning(0.9, 0.9), torch.zeros(2))
    expected = GuidedDenoiser(gaussian, plain)(X_T, 300)
    assert gaussian.num_rows == 4
    assert torch.equal(GuidedDenoiser(gaussian, [*plain, idle])(X_T, 300), expected)
    assert gaussian.num_rows == 8
    assert "aesthetic" not in guidance_weights(6.0, {"aesthetic": 0.0})


def test_scale_one_needs_no_unconditional_row():
    assert guidance_weights(1.0, {}) == {"prompt": 1.0}
    assert guidance_weights(0.0, {}) == {"null": 1}


def test_rows_keep_their_own_scales(gaussian, mean_conditioning):
    scales = torch.tensor([2.0, 5.0])
    branches = [Branch(mean_conditioning(0, 0), 1 - scales), Branch(mean_conditioning(1, 1), scales)]
    together = GuidedDenoiser(gaussian, branches)(X_T, 400)
    for row, scale in enumerate(scales.tolist()):
        alone = [
            Branch(mean_conditioning(0), torch.tensor([1 - scale])),
            Branch(mean_conditioning(1), torch.tensor([scale])),
        ]
        assert torch.allclose(GuidedDenoiser(gaussian, alone)(X_T[row : row + 1], 400)[0], together[row])


def test_weights_that_do_not_sum_to_one_are_refused(gaussian, mean_conditioning):
    with pytest.raises(ValueError, match="guidance weights"):
        GuidedDenoiser(gaussian, [Branch(mean_conditioning(0), torch.tensor([0.9]))])


def test_a_style_may_not_take_a_plain_branchs_name():
    with pytest.raises(ValueError, match="reserved"):
        guidance_weights(6.0, {"null": 1.0})
