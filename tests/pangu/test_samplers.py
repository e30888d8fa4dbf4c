import warnings

import pytest
import torch
from diffusers import DPMSolverMultistepScheduler, EulerDiscreteScheduler, UniPCMultistepScheduler

from pangu.denoiser import PredictionType, from_x0
from pangu.noise_schedule import NoiseSchedule
from pangu.samplers import SamplerName, make_sampler
from pangu.time_range import TimeSplit

SCHEDULE = NoiseSchedule()
MEAN = 0.3
SECOND_ORDER = [SamplerName.DPM_SOLVER, SamplerName.UNIPC]
STANDARD = torch.linspace(-2, 2, 9, dtype=torch.float64).reshape(1, 1, 3, 3)


def sample(denoise, told, name, steps, *, stop=None, restart=False, x_t=STANDARD):
    """x where the walk ends: clean data, or at the timestep `stop`; `told` is asked for each t."""
    timesteps, split = SCHEDULE.sampling_timesteps(steps), TimeSplit()
    sampler = make_sampler(name, SCHEDULE, timesteps)
    before = timesteps[0]
    for t in timesteps:
        if t == stop:
            return x_t
        if restart and split.expert_at(before) is not split.expert_at(t):
            sampler.restart()
        x_t = sampler.step(x_t, denoise(x_t, t, told(t)))
        before = t
    assert stop is None
    return x_t


def marginal(denoise, t, mean):
    """Mean and spread of x_t."""
    abar = denoise.schedule.abar[t].item()
    return abar**0.5 * mean, (abar * denoise.spread**2 + 1 - abar) ** 0.5


@pytest.mark.parametrize("name", SamplerName)
def test_every_sampler_ends_at_the_datas_own_mean_and_spread(gaussian, mean_conditioning, name):
    """The map from x_T to x_0 is affine, so where it takes the mean and one spread beside it says all."""
    mean, spread = marginal(gaussian, 999, MEAN)
    start = torch.tensor([mean, mean + spread], dtype=torch.float64).reshape(1, 1, 1, 2)
    errors = []
    for steps in (20, 100, 1000):
        ends = sample(gaussian, lambda t: mean_conditioning(MEAN), name, steps, x_t=start).flatten()
        assert ends[0].item() == pytest.approx(MEAN, abs=0.02)
        errors.append(abs((ends[1] - ends[0]).item() - gaussian.spread))
    assert errors[0] > 1.5 * errors[1] > 3 * errors[2]
    assert errors[2] < 0.01


def error_at(gaussian, mean_conditioning, name, steps, stop=199):
    exact_mean, exact_spread = marginal(gaussian, stop, MEAN)
    mean, spread = marginal(gaussian, 999, MEAN)
    exact = exact_mean + exact_spread * (STANDARD - mean) / spread
    reached = sample(gaussian, lambda t: mean_conditioning(MEAN), name, steps, stop=stop)
    return (reached - exact).abs().max().item()


def test_second_order_solvers_need_fewer_steps(gaussian, mean_conditioning):
    """At t = 199, which every multiple of ten steps visits: the last step, to clean data, is of first order in all."""
    errors = {
        name: [error_at(gaussian, mean_conditioning, name, steps) for steps in (10, 20, 40, 80)] for name in SamplerName
    }
    for name in SECOND_ORDER:
        assert errors[name][0] < errors[SamplerName.EULER][0] / 4
        assert errors[name][3] < errors[SamplerName.EULER][3] / 20
        assert errors[name][2] > 3 * errors[name][3]
    for name in (SamplerName.DDIM, SamplerName.EULER):
        assert errors[name][2] == pytest.approx(2 * errors[name][3], rel=0.2)


@pytest.mark.parametrize("steps", [1, 2, 7, 40])
def test_euler_on_sigma_is_ddim(gaussian, mean_conditioning, steps):
    def told(t):
        return mean_conditioning(MEAN)

    euler, ddim = (sample(gaussian, told, name, steps) for name in (SamplerName.EULER, SamplerName.DDIM))
    assert torch.allclose(euler, ddim, atol=1e-5)


@pytest.mark.parametrize("name", SECOND_ORDER)
@pytest.mark.parametrize(("gap", "gain"), [(1.0, 3.5), (0.0, 1.0)])
def test_a_restart_at_the_hand_over_pays_where_the_experts_disagree_and_costs_nothing_where_they_agree(
    gaussian, mean_conditioning, name, gap, gain
):
    """Exact: the first expert's flow down to the second's first timestep, 499, and the second's from there."""

    def told(t):
        return mean_conditioning(MEAN if t >= 500 else MEAN + gap)

    x_t, mean = STANDARD, MEAN
    for t, t_next, mean in ((999, 499, MEAN), (499, 49, MEAN + gap)):
        (here, width), (there, width_next) = marginal(gaussian, t, mean), marginal(gaussian, t_next, mean)
        x_t = there + width_next * (x_t - here) / width
    errors = [
        (sample(gaussian, told, name, 20, stop=49, restart=restart) - x_t).abs().max().item()
        for restart in (False, True)
    ]
    assert errors[0] > gain * errors[1]


@pytest.mark.parametrize("kind", [PredictionType.EPSILON, PredictionType.V])
@pytest.mark.parametrize(
    ("name", "scheduler"),
    [
        (SamplerName.EULER, EulerDiscreteScheduler),
        (SamplerName.DPM_SOLVER, DPMSolverMultistepScheduler),
        (SamplerName.UNIPC, UniPCMultistepScheduler),
    ],
)
def test_the_wrapped_scheduler_gives_what_the_bare_one_gives_of_epsilon_or_v(
    gaussian, mean_conditioning, name, scheduler, kind
):
    bare = scheduler(
        beta_start=0.00085,
        beta_end=0.0120,
        beta_schedule="scaled_linear",
        prediction_type=kind.value,
        timestep_spacing="trailing",
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "__array__ implementation", DeprecationWarning)  # its own, of newer numpy
        bare.set_timesteps(25)
    told = mean_conditioning(MEAN)
    factor = SCHEDULE.abar[999].rsqrt() if name is SamplerName.EULER else 1.0
    x_t = (STANDARD * factor).float()
    for t in bare.timesteps:
        seen = bare.scale_model_input(x_t, t)
        said = from_x0(gaussian(seen, int(t), told), seen, int(t), kind, SCHEDULE)
        x_t = bare.step(said, t, x_t, return_dict=False)[0]
    ours = sample(gaussian, lambda t: told, name, 25, x_t=STANDARD.float())
    assert torch.allclose(ours, x_t, atol=2e-4)


@pytest.mark.parametrize("name", SamplerName)
def test_rows_step_alone_as_they_step_together(gaussian, mean_conditioning, name):
    x_t = torch.randn(3, 4, 5, 6, generator=torch.Generator().manual_seed(0))

    def walk(rows):
        return sample(gaussian, lambda t: mean_conditioning(*[MEAN] * len(rows)), name, 6, x_t=rows)

    assert torch.allclose(torch.cat([walk(x_t[n : n + 1]) for n in range(3)]), walk(x_t), atol=1e-6)
