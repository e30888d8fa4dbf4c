import pytest
import torch

from pangu.autoencoder import to_uint8
from pangu.latent_bridge import PixelSpace
from pangu.noise_schedule import NoiseSchedule
from pangu.prompted_model import PromptedModel, run_steps, sample
from pangu.samplers import SamplerName

SCHEDULE = NoiseSchedule()


@pytest.fixture
def model(gaussian, mean_conditioning):
    def denoise(x_t, t):
        return gaussian(x_t, t, mean_conditioning(*[0.3] * len(x_t)))

    return PromptedModel(denoise, PixelSpace(), SCHEDULE, (4, 6))


@pytest.mark.parametrize("name", SamplerName)
def test_every_sampler_ends_where_the_exact_flow_does(gaussian, model, name):
    start = model.noise([5])
    made = sample(model, [5], 200, sampler=name)
    assert made.shape == (1, 4, 6, 3)
    exact = to_uint8(gaussian.exact_flow(start, 999, 0.3))
    assert abs(made.astype(int) - exact).max() <= 4


def test_rows_are_their_seeds_own(model):
    both = sample(model, [5, 9], 5)
    assert (sample(model, [9], 5)[0] == both[1]).all()
    assert (both[0] != both[1]).any()


def test_each_step_is_told_with_a_preview_of_the_picture(model):
    seen = []
    made = sample(model, [5], 4, on_step=lambda step, total, preview: seen.append((step, total, preview())))
    assert [(step, total) for step, total, _ in seen] == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert (seen[-1][2] == made).all()
    assert (seen[0][2] != made).any()


def test_what_a_hook_raises_ends_the_work_within_its_step(gaussian, model):
    def stop(step, total, preview):
        if step == 2:
            raise TimeoutError

    with pytest.raises(TimeoutError):
        sample(model, [5], 10, on_step=stop)
    assert gaussian.num_rows == 2


def test_a_walk_that_stops_gives_the_prediction_made_there(model):
    """Exact: the flow from 999 to 499, then the denoiser."""
    start = model.noise([5]).double()
    timesteps = [t for t in SCHEDULE.sampling_timesteps(500) if t > 499]
    x0 = run_steps(model, start, timesteps, stop=499)
    abar, first = SCHEDULE.abar[499].item(), SCHEDULE.abar[999].item()
    widths = [(a * 0.7**2 + 1 - a) ** 0.5 for a in (abar, first)]
    there = abar**0.5 * 0.3 + widths[0] * (start - first**0.5 * 0.3) / widths[1]
    assert torch.allclose(x0, model.denoise(there, 499), atol=0.01)
