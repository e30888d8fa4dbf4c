"""Fusion against what the mathematics says: METHOD section 9 and the closed form of Gaussian data."""

import pytest
import torch

from pangu.expert_relay import ExpertRelay
from pangu.fusion import FusionPart, WeightSchedule, fuse_models
from pangu.guidance import NULL, PROMPT, Guidance, GuidedDenoiser, GuidedRow
from pangu.latent_bridge import PixelSpace, cross_bridge
from pangu.prompted_model import PromptedModel, run_steps
from pangu.time_range import Role, TimeSplit
from tests.pangu.fused_models import (
    COSINE,
    LINEAR,
    SCHEDULE,
    SIZE,
    LossySpace,
    Network,
    TurnedSpace,
    fused,
    gaussian_model,
    network_model,
    walk,
)


@pytest.fixture
def make(gaussian, mean_conditioning):
    def build(schedule, spread):
        return type(gaussian)(schedule, spread)

    build.told = mean_conditioning
    return build


WEIGHTS = [0.0, 0.3, 0.5, 1.0]


def test_weight_zero_is_the_first_model_alone_and_costs_nothing_more():
    first, second = network_model(1, LossySpace(1)), network_model(2, LossySpace(2))
    together = walk(fused(first, (second, WeightSchedule.constant(0.0))))
    assert second.denoise.calls == 0
    assert first.denoise.calls == 20
    assert torch.equal(together, walk(first))


def test_weight_one_is_the_second_model_seen_through_the_bridge():
    first, second = network_model(1, LossySpace(1)), network_model(2, LossySpace(2))
    together = walk(fused(first, (second, WeightSchedule.constant(1.0))))
    assert first.denoise.calls == 0
    alone = run_steps(second, second.noise((3, 4)).double(), SCHEDULE.sampling_timesteps(20))
    expected = first.space.decode(cross_bridge(alone, second.space, first.space, SIZE))
    assert torch.allclose(together, expected, atol=1e-9)


@pytest.mark.parametrize("weight", WEIGHTS)
def test_identical_models_without_an_autoencoder_give_one_picture_whatever_the_weight(weight):
    first, second = network_model(1), network_model(1)
    expected = walk(network_model(1))
    for schedule in (WeightSchedule.constant(weight), WeightSchedule.fading(weight)):
        assert torch.allclose(walk(fused(first, (second, schedule))), expected, atol=1e-9)


@pytest.mark.parametrize("weight", WEIGHTS)
def test_identical_models_in_turned_spaces_of_their_own_agree(weight):
    """No picture is lost in the bridge, so the mean of two equal predictions is that prediction."""
    turned = TurnedSpace()

    class Seen(Network):
        def forward(self, x_t, t):
            return turned.encode(super().forward(turned.decode(x_t), t))

    model, other = network_model(1), PromptedModel(Seen(1), turned, SCHEDULE, SIZE)
    joint = fused(model, (other, WeightSchedule.constant(weight)))
    start = model.noise((3, 4)).double()
    latents = run_steps(joint, joint.space.encode(start), SCHEDULE.sampling_timesteps(20))
    expected = run_steps(model, start, SCHEDULE.sampling_timesteps(20))
    assert torch.allclose(joint.space.decode(latents), expected, atol=1e-9)


def paper_listing(first, second, weight, steps):
    """Section 5a as it is printed, in epsilon: each step both ways through the bridge."""
    z, y = first.noise((3, 4)).double(), second.noise((3, 4)).double()
    timesteps = SCHEDULE.sampling_timesteps(steps)
    for t, t_next in zip(timesteps, [*timesteps[1:], None], strict=True):
        signal, spread = SCHEDULE.signal_and_noise_rates(t, z)
        eps_z = (z - signal * first.denoise(z, t)) / spread
        eps_y = (y - signal * second.denoise(y, t)) / spread
        z0, y0 = (z - spread * eps_z) / signal, (y - spread * eps_y) / signal
        bridged_z = (z - signal * cross_bridge(y0, second.space, first.space, SIZE)) / spread
        bridged_y = (y - signal * cross_bridge(z0, first.space, second.space, SIZE)) / spread
        fused_z = weight * bridged_z + (1 - weight) * eps_z
        fused_y = (1 - weight) * bridged_y + weight * eps_y
        z = SCHEDULE.ddim_step(z, (z - spread * fused_z) / signal, t, t_next)
        y = SCHEDULE.ddim_step(y, (y - spread * fused_y) / signal, t, t_next)
    return first.space.decode(z)


@pytest.mark.parametrize("weight", [0.2, 0.5, 0.9])
def test_fusing_epsilon_is_fusing_x0(weight):
    first, second = network_model(1, LossySpace(1)), network_model(2, LossySpace(2))
    expected = paper_listing(first, second, weight, 20)
    made = walk(fused(first, (second, WeightSchedule.constant(weight))))
    assert torch.allclose(made, expected, atol=1e-8)
    assert (made - walk(first)).abs().max() > 1e-3


def exact_picture(make, mean, start, spread=0.7):
    """Where the flow of pictures around `mean` carries `start` from t = 999, in pixels."""
    return make(SCHEDULE, spread).exact_flow(start, 999, mean)


@pytest.mark.parametrize("weight", [0.25, 0.5, 1.0])
@pytest.mark.parametrize(
    ("space", "schedule"), [("turned", SCHEDULE), ("turned", LINEAR), ("turned", COSINE), ("same", LINEAR)]
)
def test_fused_gaussians_follow_the_flow_of_their_weighted_mean(make, weight, space, schedule):
    """Exact: with both means m_A, m_B and one spread, the weighted mean of the two walks is the flow of
    (1 - d) m_A + d m_B, and their difference dies with the noise."""
    turned = TurnedSpace() if space == "turned" else None
    first = gaussian_model(make, 0.4)
    second = gaussian_model(make, -0.6, space=turned or first.space, schedule=schedule)
    joint = fused(first, (second, WeightSchedule.constant(weight)))
    errors = []
    for steps in (50, 500):
        latents = run_steps(joint, joint.noise((3,)).double(), SCHEDULE.sampling_timesteps(steps))
        start = first.noise((3,)).double()
        other = start if turned is None else turned.decode(start)
        mixed = (1 - weight) * start + weight * other
        expected = exact_picture(make, (1 - weight) * 0.4 + weight * -0.6, mixed)
        errors.append((joint.space.decode(latents) - expected).abs().max().item())
    assert errors[1] < 0.012
    assert errors[1] < errors[0] / 4


def test_three_gaussians_of_three_spaces_schedules_and_sizes(make):
    """Pictures without detail pass any resize; each model walks at its own size, on its own schedule."""
    means, weights = (0.5, -0.4, 0.1), (0.5, 0.3, 0.2)
    first = gaussian_model(make, means[0])
    second = gaussian_model(make, means[1], space=TurnedSpace(), schedule=LINEAR, size=(8, 8))
    third = gaussian_model(make, means[2], space=TurnedSpace(1), schedule=COSINE, size=(6, 4))
    joint = fused(first, *((m, WeightSchedule.constant(w)) for m, w in zip((second, third), weights[1:], strict=True)))
    flat = torch.full((1, 3, 4, 4), 1.3, dtype=torch.float64)
    latents = run_steps(joint, joint.space.encode(flat), SCHEDULE.sampling_timesteps(500))
    mean = sum(weight * mean for weight, mean in zip(weights, means, strict=True))
    assert (joint.space.decode(latents) - exact_picture(make, mean, flat)).abs().max() < 0.012
    for part, state in zip((second, third), joint.space.split(latents)[1:], strict=True):
        assert part.denoise.calls == 500
        assert (part.space.decode(state) - exact_picture(make, mean, flat[..., :1, :1])).abs().max() < 0.012


def test_models_of_one_space_need_no_bridge_and_share_one_walk():
    space = TurnedSpace()
    first, second = network_model(1, space), network_model(2, space)
    joint = fused(first, (second, WeightSchedule.constant(0.4)))
    assert joint.space is space
    start = first.noise((3,)).double()
    space.crossed = 0
    x0 = joint.denoise(start, 700)
    assert torch.allclose(x0, 0.6 * first.denoise(start, 700) + 0.4 * second.denoise(start, 700))
    assert space.crossed == 0


def test_a_small_autoencoder_stands_in_for_the_large_one_inside_the_bridge_alone():
    large, small = LossySpace(1), LossySpace(5)
    first, second = network_model(1, large), network_model(2, LossySpace(2))
    weight = WeightSchedule.constant(0.5)
    joint = fuse_models([FusionPart(first, bridge=small), FusionPart(second, weight)])
    start = joint.noise((3,)).double()
    mine, theirs = joint.space.split(start)
    x0 = joint.space.split(joint.denoise(start, 700))
    first_x0, second_x0 = first.denoise(mine, 700), second.denoise(theirs, 700)
    assert torch.allclose(x0[0], (first_x0 + cross_bridge(second_x0, second.space, small, SIZE)) / 2)
    assert torch.allclose(x0[1], (second_x0 + cross_bridge(first_x0, small, second.space, SIZE)) / 2)
    assert torch.equal(joint.space.decode(start), large.decode(mine))


def test_between_bridges_the_others_rest_and_their_last_picture_counts():
    first, second = network_model(1, LossySpace(1)), network_model(2, LossySpace(2))
    joint = fused(first, (second, WeightSchedule.constant(0.5)), every=3)
    start = joint.noise((3,)).double()
    met = joint.space.split(joint.denoise(start, 900))
    heard = 2 * met[0] - first.denoise(joint.space.split(start)[0], 900)
    later = torch.randn_like(start)
    between = joint.space.split(joint.denoise(later, 850))
    assert torch.allclose(between[0], (first.denoise(joint.space.split(later)[0], 850) + heard) / 2)
    assert torch.equal(between[1], met[1])
    joint.denoise(later, 800)
    assert second.denoise.calls == 1
    joint.denoise(later, 750)
    assert second.denoise.calls == 2
    assert joint.denoise.crossings == [2, 2]


def test_a_silent_model_follows_until_it_speaks_and_is_left_when_it_is_done():
    first, second = network_model(1, TurnedSpace()), network_model(2, TurnedSpace(1))
    joint = fused(first, (second, WeightSchedule.within(0.5, 300, 700)))
    timesteps = SCHEDULE.sampling_timesteps(10)
    run_steps(joint, joint.noise((3,)).double(), timesteps)
    assert [t for t in timesteps if 300 <= t < 700] == [699, 599, 499, 399]
    assert joint.denoise.evaluations == [10, 4]
    assert joint.denoise.crossings == [4, 7]  # the second hears the first at 999, 899, 799 and while it speaks


def test_a_change_of_speakers_is_told_to_the_sampler():
    joint = fused(network_model(1), (network_model(2), WeightSchedule.within(0.5, 300, 700)))
    jumps = []
    for t in (900, 800, 600, 500, 200, 100):
        joint.denoise(joint.noise((3,)).double(), t)
        jumps.append(joint.denoise.has_jumped)
    assert jumps == [False, False, True, False, True, False]


def test_a_fusion_is_a_part_like_any_other(make):
    """(A and B half and half) and C: weights multiply."""
    means = (0.5, -0.4, 0.1)
    models = [gaussian_model(make, mean, space=TurnedSpace(n)) for n, mean in enumerate(means)]
    inner = fused(models[0], (models[1], WeightSchedule.constant(0.5)))
    outer = fused(inner, (models[2], WeightSchedule.constant(0.4)))
    flat = torch.full((1, 3, 4, 4), -0.8, dtype=torch.float64)
    latents = run_steps(outer, outer.space.encode(flat), SCHEDULE.sampling_timesteps(500))
    expected = exact_picture(make, 0.3 * 0.5 + 0.3 * -0.4 + 0.4 * 0.1, flat)
    assert (outer.space.decode(latents) - expected).abs().max() < 0.012


def test_a_guided_expert_relay_is_a_part_like_any_other(make, mean_conditioning):
    """Two experts, guidance 2 from mean 0 to mean 0.3: the data seem to lie around 0.6."""
    experts = {role: make(SCHEDULE, 0.7) for role in (Role.STRUCTURE, Role.TEXTURE)}
    relay = ExpertRelay(experts, TimeSplit())
    rule = Guidance({Role.STRUCTURE: 2.0, Role.TEXTURE: 2.0})
    row = GuidedRow(rule, {NULL: 0, PROMPT: 1})
    guided = GuidedDenoiser(relay, mean_conditioning(0.0, 0.3), [row], TimeSplit())
    model = PromptedModel(guided, PixelSpace(), SCHEDULE, SIZE)
    other = gaussian_model(make, -0.2, space=TurnedSpace(), schedule=LINEAR)
    joint = fused(model, (other, WeightSchedule.constant(0.5)))
    flat = torch.full((1, 3, 4, 4), 0.9, dtype=torch.float64)
    latents = run_steps(joint, joint.space.encode(flat), SCHEDULE.sampling_timesteps(500))
    assert (joint.space.decode(latents) - exact_picture(make, 0.2, flat)).abs().max() < 0.012
    assert relay.calls == {Role.STRUCTURE: 250, Role.TEXTURE: 250}


def test_the_default_weight_fades_and_other_courses_are_lines():
    fading = WeightSchedule.fading(0.6)
    assert [fading.at(t, SCHEDULE) for t in (999, 500, 350, 200, 0)] == pytest.approx([0.6, 0.6, 0.3, 0, 0])
    within = WeightSchedule.within(0.5, 300, 700)
    assert [within.at(t, SCHEDULE) for t in (700, 699, 300, 299)] == [0, 0.5, 0.5, 0]
    by_level = WeightSchedule(((-2.0, 1.0), (2.0, 0.0)), axis="log_snr")
    t = SCHEDULE.timestep_at(0.0)
    assert by_level.at(t, SCHEDULE) == pytest.approx(0.5)
    assert by_level.at(LINEAR.timestep_at(0.0), LINEAR) == pytest.approx(0.5)
    assert by_level.at(999, SCHEDULE) == 1.0


@pytest.mark.parametrize(
    ("make_bad", "message"),
    [
        (lambda: WeightSchedule(()), "points: got"),
        (lambda: WeightSchedule(((5.0, 0.1), (3.0, 0.2))), "points: got"),
        (lambda: WeightSchedule(((5.0, 1.2),)), "weights from 0 to 1"),
        (lambda: WeightSchedule(((float("nan"), 0.2),)), "points: got"),
        (lambda: WeightSchedule(((5.0, 0.2),), axis="sigma"), "axis: got 'sigma'"),
        (lambda: fuse_models([]), "parts: got none"),
        (lambda: fused(network_model(1), (network_model(2), None)), "weight of part 1: got None"),
        (lambda: fused(network_model(1), every=0), "every: got 0"),
        (
            lambda: fused(
                network_model(1),
                (network_model(2), WeightSchedule.constant(0.7)),
                (network_model(3), WeightSchedule.within(0.5, 200, 201)),
            ),
            "weights: got 1.2 together at timestep 200",
        ),
    ],
)
def test_what_is_no_fusion_is_refused_by_name(make_bad, message):
    with pytest.raises(ValueError, match=message):
        make_bad()
