import itertools

import pytest
import torch

from pangu.noise_schedule import NoiseSchedule, schedule_of


def test_sigma_has_the_published_values():
    sigma = NoiseSchedule().sigma(torch.tensor([0, 200, 500, 999]))
    assert sigma.tolist() == pytest.approx([0.029, 0.572, 1.618, 14.615], abs=5e-4)


def test_log_snr_falls_and_is_minus_twice_log_sigma():
    schedule = NoiseSchedule()
    t = torch.arange(1000)
    assert (schedule.log_snr(t).diff() < 0).all()
    assert torch.allclose(schedule.log_snr(t), (schedule.abar / (1 - schedule.abar)).log())


def test_forty_steps_are_twenty_and_twenty():
    timesteps = NoiseSchedule().sampling_timesteps(40)
    assert timesteps[0] == 999
    assert timesteps[-1] == 24
    assert sum(t >= 500 for t in timesteps) == 20


@pytest.mark.parametrize("steps", [1, 2, 4, 25, 40, 50, 1000])
def test_timesteps_and_updates_are_those_of_the_library_where_it_spaces_evenly(steps):
    schedule = NoiseSchedule()
    library = schedule.to_scheduler("sample")
    library.set_timesteps(steps)
    timesteps = schedule.sampling_timesteps(steps)
    assert timesteps == library.timesteps.tolist()
    generator = torch.Generator().manual_seed(0)
    x_t, x0 = torch.randn((2, 3, 4, 4), generator=generator), torch.randn((2, 3, 4, 4), generator=generator)
    for t, t_next in [*itertools.pairwise(timesteps), (timesteps[-1], None)][:: max(1, steps // 10)]:
        ours = schedule.ddim_step(x_t, x0, t, t_next)
        assert torch.allclose(ours, library.step(x0, t, x_t, eta=0.0).prev_sample, atol=2e-5)


@pytest.mark.parametrize("steps", [3, 7, 30])
def test_uneven_spacing_stays_on_the_axis(steps):
    timesteps = NoiseSchedule().sampling_timesteps(steps)
    assert timesteps == sorted(set(timesteps), reverse=True)
    assert timesteps[0] == 999
    assert timesteps[-1] >= 0


@pytest.mark.parametrize("steps", [0, 1001])
def test_impossible_step_counts_are_refused(steps):
    with pytest.raises(ValueError, match="num_steps"):
        NoiseSchedule().sampling_timesteps(steps)


def test_noise_is_added_row_by_row():
    schedule = NoiseSchedule()
    x0, noise = torch.ones(2, 1, 2, 2), torch.full((2, 1, 2, 2), 2.0)
    mixed = schedule.add_noise(x0, noise, torch.tensor([0, 999]))
    for row, t in enumerate((0, 999)):
        abar = schedule.abar[t].item()
        assert mixed[row].unique().item() == pytest.approx(abar**0.5 + 2 * (1 - abar) ** 0.5, rel=1e-6)


def test_a_stored_scheduler_describes_the_schedule():
    schedule = NoiseSchedule(beta_end=0.013)
    assert schedule_of(schedule.to_scheduler()) == schedule


def test_betas_out_of_order_are_refused():
    with pytest.raises(ValueError, match="betas"):
        NoiseSchedule(beta_start=0.02, beta_end=0.01)
