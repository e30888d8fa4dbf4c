import numpy as np
import torch

from pangu.base_training import BasePlan, identity_of, train_base
from pangu.generate import GenerationRequest, Generator
from pangu.networks import build_sample_autoencoder
from pangu.pipeline import ExpertsCard, PanGuDrawPipeline
from pangu.time_range import Role, TimeSplit
from pangu.train_step import TrainSettings
from pangu.training_samples import DrawnBatch, DrawnBatches


def test_pictures_become_a_pipeline_whose_experts_branch_from_one_model(unet_of_seed, text_encoder, buckets, tmp_path):
    torch.manual_seed(0)
    vae = build_sample_autoencoder().eval()

    def draw(step, side):
        rng = np.random.default_rng(step)
        return DrawnBatch(rng.integers(0, 256, (4, side, side, 3), dtype=np.uint8), ["a red ball", "红色的球"] * 2, 5)

    sources = {
        role: DrawnBatches(lambda step, side=32 if role is Role.TEXTURE else 64: draw(step, side), vae, text_encoder)
        for role in Role
    }
    steps = {Role.SHARED: 2, Role.STRUCTURE: 1, Role.TEXTURE: 0}
    plan = BasePlan(
        batches=sources,
        settings={role: TrainSettings(steps=count, ema_decay=0.0) for role, count in steps.items()},
        buckets=buckets,
        split=TimeSplit(),
        checkpoints=tmp_path / "checkpoints",
    )
    seen = []
    shared = unet_of_seed(5)
    experts = train_base(shared, text_encoder, plan, lambda role, report: seen.append((role, report.step)))
    assert seen == [(Role.SHARED, 1), (Role.SHARED, 2), (Role.STRUCTURE, 1)]
    assert torch.equal(experts[Role.TEXTURE].conv_in.weight, shared.conv_in.weight)
    assert not torch.equal(experts[Role.STRUCTURE].conv_in.weight, shared.conv_in.weight)

    seen.clear()
    again = train_base(unet_of_seed(6), text_encoder, plan, lambda role, report: seen.append((role, report.step)))
    assert seen == []
    assert torch.equal(again[Role.STRUCTURE].conv_in.weight, experts[Role.STRUCTURE].conv_in.weight)

    card = ExpertsCard(structure=identity_of(Role.STRUCTURE, plan), texture=identity_of(Role.TEXTURE, plan))
    modules = {"structure": experts[Role.STRUCTURE], "texture": experts[Role.TEXTURE], "vae": vae}
    pipeline = PanGuDrawPipeline.build(modules | {"text_encoder": text_encoder}, card)
    made = Generator(pipeline, rows_per_batch=1).generate(
        [GenerationRequest(key="k", prompt="a red ball", seed=1, steps=2)]
    )
    assert made[0].image.shape == (64, 64, 3)
