import hashlib

import pytest
import torch

from pangu.batches import BatchPlan
from pangu.errors import CheckpointError
from pangu.noise_schedule import NoiseSchedule
from pangu.text_encoder import TextFeatures
from pangu.time_range import Role
from pangu.train_step import TrainSettings
from pangu.trainer import TrainTask, train
from pangu.training_samples import CaptionTable, LatentBatches, LatentSample

BUCKETS = [5, 5, 5, 5, 5, 2, 2, 2, 2, 5, 2]


@pytest.fixture
def batches(text_encoder):
    generator = torch.Generator().manual_seed(0)
    captions = ("a red ball", "红色的球")
    samples = [
        LatentSample(torch.randn((8, 4, 4) if bucket == 5 else (8, 4, 6), generator=generator), bucket, captions)
        for bucket in BUCKETS
    ]
    return LatentBatches(samples, CaptionTable(text_encoder, captions), BatchPlan(BUCKETS, 4, 0))


def run(unet, batches, identity, folder, steps, role=Role.STRUCTURE):
    null = TextFeatures(torch.zeros(1, 40, 32), torch.zeros(1, 48))
    task = TrainTask(batches, NoiseSchedule(), identity, null, folder)
    settings = TrainSettings(steps=steps, learning_rate=1e-3, warmup_steps=5, decay_steps=30, checkpoint_every=10)
    trace = []
    result = train(unet, task, settings, lambda report: trace.append(report.samples))
    return result, trace


def digest_of(weights):
    total = hashlib.sha256()
    for name in sorted(weights):
        total.update(weights[name].detach().numpy().tobytes())
    return total.hexdigest()


@pytest.mark.reliability(12)
def test_seventeen_steps_and_twenty_three_equal_forty_to_the_bit(unet_of_seed, batches, identities, tmp_path):
    identity = identities[Role.STRUCTURE]
    whole_unet, first_unet, second_unet = unet_of_seed(4), unet_of_seed(4), unet_of_seed(99)
    whole, whole_trace = run(whole_unet, batches, identity, None, 40)
    _, before = run(first_unet, batches, identity, tmp_path, 17)
    resumed, after = run(second_unet, batches, identity, tmp_path, 40)
    assert resumed.losses == whole.losses
    assert before + after == whole_trace
    assert digest_of(second_unet.state_dict()) == digest_of(whole_unet.state_dict())
    assert digest_of(resumed.ema.weights) == digest_of(whole.ema.weights)


def test_another_experts_checkpoints_are_not_continued(unet_of_seed, batches, identities, tmp_path):
    run(unet_of_seed(4), batches, identities[Role.STRUCTURE], tmp_path, 1)
    with pytest.raises(CheckpointError, match="role"):
        run(unet_of_seed(4), batches, identities[Role.TEXTURE], tmp_path, 2)


def test_the_loss_falls_on_data_that_can_be_learned(unet_of_seed, identities, text_encoder):
    constant = [LatentSample(torch.full((8, 4, 4), 0.5), 5, ("a red ball",))] * 8
    batches = LatentBatches(constant, CaptionTable(text_encoder, ["a red ball"]), BatchPlan([5] * 8, 8, 0))
    result, _ = run(unet_of_seed(4), batches, identities[Role.TEXTURE], None, 60)
    assert sum(result.losses[-10:]) < 0.9 * sum(result.losses[:10])


def test_a_loss_that_is_not_finite_stops_the_run(unet_of_seed, identities, text_encoder):
    broken = [LatentSample(torch.full((8, 4, 4), float("nan")), 5, ("a red ball",))]
    batches = LatentBatches(broken, CaptionTable(text_encoder, ["a red ball"]), BatchPlan([5], 1, 0))
    with pytest.raises(FloatingPointError, match="step 1"):
        run(unet_of_seed(4), batches, identities[Role.TEXTURE], None, 2)
