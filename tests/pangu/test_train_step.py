import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pangu.batches import BatchPlan
from pangu.denoiser import Conditioning, PredictionType, to_x0
from pangu.noise_schedule import NoiseSchedule
from pangu.text_encoder import TextFeatures
from pangu.time_range import Role, TimeSplit
from pangu.train_step import (
    LossTerms,
    TrainSettings,
    diffusion_loss,
    draw_noise,
    drop_captions,
    learning_rate_at,
    loss_weights,
)
from pangu.training_samples import CaptionTable, LatentBatches, LatentSample

NULL = TextFeatures(torch.zeros(1, 40, 32), torch.zeros(1, 48))


@given(st.integers(0, 1000), st.integers(0, 10_000), st.integers(1, 16))
def test_timesteps_never_leave_the_experts_range(boundary, step, rows):
    split = TimeSplit(boundary=boundary)
    for role in Role:
        time_range = split.range_of(role)
        if len(time_range):
            t = draw_noise(TrainSettings(), step, (rows, 1, 1, 1), time_range).t
            assert all(value in time_range for value in t.tolist())


def test_timesteps_cover_the_range_evenly_up_to_both_ends():
    time_range = TimeSplit().range_of(Role.STRUCTURE)
    t = torch.cat([draw_noise(TrainSettings(), step, (50, 1, 1, 1), time_range).t for step in range(200)])
    counts = torch.bincount(t - 500, minlength=500)
    assert counts.min() > 2
    assert counts.float().mean().item() == 20


def test_an_empty_range_is_refused():
    with pytest.raises(ValueError, match="time_range"):
        draw_noise(TrainSettings(), 0, (1, 1, 1, 1), TimeSplit(boundary=0).range_of(Role.TEXTURE))


def test_one_caption_in_ten_is_dropped_and_the_bucket_stays():
    time_range = TimeSplit().range_of(Role.SHARED)
    dropped = torch.cat([draw_noise(TrainSettings(), s, (50, 1, 1, 1), time_range).dropped for s in range(100)])
    assert dropped.float().mean().item() == pytest.approx(0.1, abs=0.02)
    told = Conditioning(torch.ones(2, 40, 32), torch.ones(2, 48), torch.tensor([4, 4]))
    silent = drop_captions(told, torch.tensor([True, False]), NULL)
    assert silent.tokens.amax((1, 2)).tolist() == [0, 1]
    assert silent.pooled.amax(1).tolist() == [0, 1]
    assert silent.bucket.tolist() == [4, 4]


def make_batches(text_encoder, count, **workers):
    generator = torch.Generator().manual_seed(0)
    captions = ("a red ball", "红色的球")
    samples = [LatentSample(torch.randn((8, 4, 4), generator=generator), 5, captions) for _ in range(count)]
    return LatentBatches(samples, CaptionTable(text_encoder, captions), BatchPlan([5] * count, 8, 0), **workers)


@pytest.mark.parametrize(("count", "num_workers"), [(8, 2), (8, 3), (2, 3)])
def test_workers_shares_add_up_to_the_loss_and_gradient_of_one(unet_of_seed, text_encoder, count, num_workers):
    terms = LossTerms(NoiseSchedule(), PredictionType.EPSILON, NULL, TrainSettings())

    def loss_of(**workers):
        batch = make_batches(text_encoder, count, **workers).batch(0)
        draw = draw_noise(terms.settings, 0, (batch.num_global, 8, 4, 4), TimeSplit().range_of(Role.SHARED))
        return batch.samples, diffusion_loss(unet, batch, draw, terms)

    unet = unet_of_seed(0)
    order, whole = loss_of()
    whole.backward()
    expected = unet.conv_in.weight.grad.clone()
    unet.zero_grad()
    shares = [loss_of(rank=rank, num_workers=num_workers) for rank in range(num_workers)]
    total = sum(loss for _, loss in shares)
    total.backward()
    assert sum((samples for samples, _ in shares), ()) == order
    assert total.item() == pytest.approx(whole.item(), rel=1e-5)
    assert torch.allclose(unet.conv_in.weight.grad, expected, atol=1e-5)


@pytest.mark.parametrize("kind", list(PredictionType))
def test_min_snr_weights_bound_the_weight_of_the_x0_error(kind):
    schedule, gamma = NoiseSchedule(), 5.0
    t = torch.tensor([0, 100, 500, 999])
    snr = schedule.log_snr(t).exp()
    weights = loss_weights(schedule, t, kind, gamma)
    x_t = torch.zeros(4, 1, 1, 1, dtype=torch.float64)
    x0_error = to_x0(torch.ones_like(x_t), x_t, t, kind, schedule) - to_x0(
        torch.zeros_like(x_t), x_t, t, kind, schedule
    )
    expected = snr.clamp(max=gamma) * x0_error.flatten().square()
    assert torch.allclose(weights.double(), expected, rtol=1e-5)
    assert loss_weights(schedule, t, kind, None).tolist() == [1, 1, 1, 1]


def test_checkpointing_changes_no_gradient(unet_of_seed, text_encoder):
    terms = LossTerms(NoiseSchedule(), PredictionType.EPSILON, NULL, TrainSettings())
    batch = make_batches(text_encoder, 4).batch(0)
    draw = draw_noise(terms.settings, 0, (4, 8, 4, 4), TimeSplit().range_of(Role.SHARED))
    gradients = []
    for is_on in (False, True):
        unet = unet_of_seed(0)
        if is_on:
            unet.enable_gradient_checkpointing()
        diffusion_loss(unet, batch, draw, terms).backward()
        gradients.append(unet.conv_in.weight.grad)
    assert torch.allclose(gradients[0], gradients[1], atol=1e-6)


def test_bfloat16_autocast_stays_near_float32(unet_of_seed, text_encoder):
    batch = make_batches(text_encoder, 4).batch(0)
    draw = draw_noise(TrainSettings(), 0, (4, 8, 4, 4), TimeSplit().range_of(Role.SHARED))
    losses = []
    for autocast in (None, "bfloat16"):
        terms = LossTerms(NoiseSchedule(), PredictionType.EPSILON, NULL, TrainSettings(autocast=autocast))
        losses.append(diffusion_loss(unet_of_seed(0), batch, draw, terms).item())
    assert losses[1] == pytest.approx(losses[0], rel=0.02)
    assert losses[1] != losses[0]


def test_the_rate_warms_up_and_falls_to_a_tenth():
    settings = TrainSettings(learning_rate=1.0, warmup_steps=10, decay_steps=100)
    assert learning_rate_at(settings, 0) == pytest.approx(0.1)
    assert learning_rate_at(settings, 10) == pytest.approx(1.0)
    assert learning_rate_at(settings, 500) == pytest.approx(0.1)
    assert learning_rate_at(TrainSettings(learning_rate=1.0), 10_000) == 1.0
