import numpy as np
import pytest
import torch

from pangu.autoencoder import to_uint8
from pangu.fusion import FusionPart, WeightSchedule, fuse_models
from pangu.latent_bridge import GridSpace, PixelSpace, resize_pixels
from pangu.noise_schedule import NoiseSchedule
from pangu.prompted_model import PromptedModel, run_steps, sample
from pangu.resolution_handoff import HandOff, hand_off, matching_timestep, steps_above, steps_below

SCHEDULE = NoiseSchedule()
COSINE = NoiseSchedule(kind="squaredcos_cap_v2")
SEEDS = (3, 8)


class DimmedSpace(GridSpace):
    """A latent space whose round trip dims the picture, so that it is seen which autoencoder a picture went through."""

    channels, factor = 3, 1

    def encode(self, pixels):
        return pixels * 1.6

    def decode(self, latents):
        return latents * 0.5


class Model:
    """A denoiser that pulls towards its own grey, with its calls' timesteps."""

    def __init__(self, grey):
        self.grey = grey
        self.asked = []

    def __call__(self, x_t, t):
        self.asked.append(t)
        return 0.6 * self.grey + 0.4 * x_t.tanh()


def low_and_high(schedule=SCHEDULE):
    low = PromptedModel(Model(0.5), PixelSpace(), SCHEDULE, (4, 4))
    return low, PromptedModel(Model(-0.3), DimmedSpace(), schedule, (8, 8))


def test_stopping_at_the_top_is_the_large_model_alone():
    low, high = low_and_high()
    made = hand_off(low, high, HandOff(stop=1000), SEEDS, 10)
    assert low.denoise.asked == []
    assert (made == sample(high, SEEDS, 10)).all()


def test_stopping_at_zero_is_the_small_picture_upsampled_through_the_large_autoencoder():
    low, high = low_and_high()
    made = hand_off(low, high, HandOff(stop=0), SEEDS, 10)
    assert high.denoise.asked == []
    clean = run_steps(low, low.noise(SEEDS), SCHEDULE.sampling_timesteps(10))
    assert (made == to_uint8(high.space.decode(high.space.encode(resize_pixels(clean, (8, 8)))))).all()


def test_a_second_pass_finishes_the_small_picture_first():
    low, high = low_and_high()
    made = hand_off(low, high, HandOff(stop=0, restart=450), SEEDS, 10)
    assert low.denoise.asked == SCHEDULE.sampling_timesteps(10)
    assert high.denoise.asked == [450, 399, 299, 199, 99]
    assert (made != hand_off(*low_and_high(), HandOff(stop=450), SEEDS, 10)).any()


def test_each_model_takes_its_own_part_of_one_walk():
    low, high = low_and_high()
    hand_off(low, high, HandOff(stop=450), SEEDS, 10)
    assert low.denoise.asked == [999, 899, 799, 699, 599, 499, 450]
    assert high.denoise.asked == [450, 399, 299, 199, 99]
    low, high = low_and_high()
    seen = []
    hand_off(low, high, HandOff(stop=500, restart=693), SEEDS, 10, on_step=lambda *told: seen.append(told[:2]))
    assert high.denoise.asked == [693, 599, 499, 399, 299, 199, 99]
    assert seen == [(step, 13) for step in range(1, 14)]


def test_the_noise_is_fresh_and_of_the_level_where_the_large_model_begins():
    """A model that answers with what it is given shows the noise: clean + s n has mean a x0' and variance s^2."""
    low = PromptedModel(lambda x_t, t: torch.full_like(x_t, 0.5), PixelSpace(), SCHEDULE, (4, 4))
    seen = []

    def watch(x_t, t):
        seen.append(x_t)
        return x_t

    high = PromptedModel(watch, PixelSpace(), SCHEDULE, (96, 96))
    hand_off(low, high, HandOff(stop=500), SEEDS, 10)
    signal, spread = (float(rate) for rate in SCHEDULE.signal_and_noise_rates(500, seen[0]))
    noise = (seen[0] - signal * 0.5) / spread
    assert noise.mean().item() == pytest.approx(0, abs=0.02)
    assert noise.std().item() == pytest.approx(1, abs=0.02)
    started = high.noise(SEEDS)
    assert abs((noise * started).mean().item()) < 0.02
    assert abs((noise[0] * noise[1]).mean().item()) < 0.02


def test_levels_of_unlike_schedules_are_equal_in_log_snr():
    low, high = low_and_high(COSINE)
    hand_off(low, high, HandOff(stop=500), SEEDS, 10)
    assert COSINE.log_snr(high.denoise.asked[0]).item() == pytest.approx(SCHEDULE.log_snr(500).item(), abs=1e-6)


@pytest.mark.parametrize(("stop", "restart"), [(500, 693), (400, 605), (300, 509)])
def test_the_matching_levels_of_twice_the_size_are_the_published_derivation(stop, restart):
    assert matching_timestep(stop, SCHEDULE, SCHEDULE, ((32, 32), (64, 64))) == pytest.approx(restart, abs=1)
    assert matching_timestep(stop, SCHEDULE, SCHEDULE, ((32, 32), (32, 32))) == pytest.approx(stop, abs=1e-6)


def gaussian_model(gaussian, told, mean, space, size):
    def denoise(x_t, t):
        return gaussian(x_t, t, told(*[mean] * len(x_t)))

    return PromptedModel(denoise, space, SCHEDULE, size)


def test_gaussians_follow_their_exact_flows_on_both_sides(gaussian, mean_conditioning):
    """Exact: small pictures flow to 500 and are denoised there; noised by the seeds, they flow on around the large mean."""
    low = gaussian_model(gaussian, mean_conditioning, 0.4, PixelSpace(), (4, 4))
    high = gaussian_model(gaussian, mean_conditioning, -0.2, PixelSpace(), (8, 8))
    seen = []

    def watch(x_t, t):
        seen.append(x_t.double())
        return high.denoise(x_t, t)

    watched = PromptedModel(watch, high.space, SCHEDULE, high.size)
    made = hand_off(low, watched, HandOff(stop=500), SEEDS, 1000)
    exact = gaussian.exact_flow(seen[0], 500, -0.2)
    assert np.abs(made.astype(int) - to_uint8(exact)).max() <= 2

    def width(t):
        abar = SCHEDULE.abar[t].item()
        return (abar * 0.7**2 + 1 - abar) ** 0.5

    start = low.noise(SEEDS).double()
    marginal = [SCHEDULE.abar[t].item() ** 0.5 * 0.4 for t in (999, 500)]
    there = marginal[1] + width(500) * (start - marginal[0]) / width(999)
    clean = gaussian(there, 500, mean_conditioning(0.4, 0.4))
    signal, spread = SCHEDULE.signal_and_noise_rates(500, clean)
    residue = (seen[0] - signal * resize_pixels(clean, (8, 8))) / spread
    assert residue.std().item() == pytest.approx(1, abs=0.15)
    assert abs(residue.mean().item()) < 0.15


def test_a_fusion_hands_off_like_any_other_model():
    low, high = low_and_high()
    other = PromptedModel(Model(0.1), DimmedSpace(), COSINE, (6, 6))
    joint = fuse_models([FusionPart(low), FusionPart(other, WeightSchedule.constant(0.5))])
    made = hand_off(joint, high, HandOff(stop=500), SEEDS, 10)
    assert made.shape == (2, 8, 8, 3)
    assert len(other.denoise.asked) == len(low.denoise.asked) == 6
    low_again, high_again = low_and_high()
    assert (made != hand_off(low_again, high_again, HandOff(stop=500), SEEDS, 10)).any()


def test_levels_outside_the_schedule_are_refused():
    low, high = low_and_high()
    for change, field in (({"stop": -1}, "stop"), ({"restart": -5}, "restart"), ({"stop": float("nan")}, "stop")):
        with pytest.raises(ValueError, match=f"^{field}: got"):
            HandOff(**change)
    with pytest.raises(ValueError, match=r"^restart: got 1200"):
        hand_off(low, high, HandOff(restart=1200), SEEDS, 10)
    assert steps_above(SCHEDULE, 0, 4) == [999, 749, 499, 249]
    assert steps_below(SCHEDULE, 0, 4) == []
