import pytest
import torch

from pangu.expert_relay import ExpertRelay
from pangu.time_range import Role, TimeSplit

X_T = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
MEAN = 0.3


def sample(denoise, schedule, conditioning, steps):
    x_t, timesteps = X_T, schedule.sampling_timesteps(steps)
    for t, t_next in zip(timesteps, [*timesteps[1:], None], strict=True):
        x_t = schedule.ddim_step(x_t, denoise(x_t, t, conditioning), t, t_next)
    return x_t


def test_the_sampler_follows_the_exact_flow_of_gaussian_data(gaussian, mean_conditioning):
    exact = gaussian.exact_flow(X_T, 999, MEAN)
    told = mean_conditioning(MEAN, MEAN, MEAN)
    errors = [(sample(gaussian, gaussian.schedule, told, n) - exact).abs().max().item() for n in (40, 200, 1000)]
    assert errors[2] < 0.02
    assert errors[0] > 2 * errors[1] > 3 * errors[2]


@pytest.mark.parametrize("steps", [1, 7, 40])
def test_two_equal_experts_are_one_model(gaussian, mean_conditioning, steps):
    relay = ExpertRelay({Role.STRUCTURE: gaussian, Role.TEXTURE: gaussian}, TimeSplit())
    told = mean_conditioning(MEAN, MEAN, MEAN)
    alone = sample(gaussian, gaussian.schedule, told, steps)
    assert torch.equal(sample(relay, gaussian.schedule, told, steps), alone)


@pytest.mark.parametrize(("boundary", "role"), [(0, Role.STRUCTURE), (1000, Role.TEXTURE)])
def test_a_boundary_at_either_end_is_a_single_model(gaussian, mean_conditioning, boundary, role):
    relay = ExpertRelay({role: gaussian}, TimeSplit(boundary=boundary))
    told = mean_conditioning(MEAN, MEAN, MEAN)
    assert torch.equal(sample(relay, gaussian.schedule, told, 40), sample(gaussian, gaussian.schedule, told, 40))
    assert relay.calls == {role: 40}


def test_forty_steps_ask_each_expert_twenty_times_and_each_only_on_its_own_half(gaussian, mean_conditioning):
    seen = {Role.STRUCTURE: [], Role.TEXTURE: []}

    def recording(role):
        def denoise(x_t, t, conditioning):
            seen[role].append(t)
            return gaussian(x_t, t, conditioning)

        return denoise

    relay = ExpertRelay({role: recording(role) for role in seen}, TimeSplit())
    sample(relay, gaussian.schedule, mean_conditioning(MEAN, MEAN, MEAN), 40)
    assert [len(timesteps) for timesteps in seen.values()] == [20, 20]
    assert min(seen[Role.STRUCTURE]) >= 500 > max(seen[Role.TEXTURE])


def test_a_missing_expert_is_refused(gaussian):
    with pytest.raises(ValueError, match="texture"):
        ExpertRelay({Role.STRUCTURE: gaussian}, TimeSplit())
