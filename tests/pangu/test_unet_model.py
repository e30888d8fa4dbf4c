import copy

import numpy as np
import pytest
import torch

from pangu.denoiser import PredictionType
from pangu.fusion_request import Told
from pangu.generate import GenerationRequest, Generator
from pangu.image_encoder import ClipImageEncoder
from pangu.latent_bridge import PixelSpace
from pangu.networks import build_unet
from pangu.noise_schedule import NoiseSchedule
from pangu.prompted_model import sample
from pangu.unet_model import experts_model, image_batch, single_unet_model


def test_the_expert_pair_alone_draws_what_the_generator_draws(pipeline):
    prompts = ["a red ball", "green square"]
    model = experts_model(pipeline)
    assert model.default_size == (64, 64)
    rows = [Told(prompt, "blue", 3.0) for prompt in prompts]
    for size, bucket in (((64, 64), 5), ((32, 128), 0)):
        mine = sample(model.told(rows, size), [7, 8], 4)
        requests = [
            GenerationRequest(key=p, prompt=p, negative="blue", seed=7 + n, steps=4, guidance=3.0, bucket=bucket)
            for n, p in enumerate(prompts)
        ]
        made = Generator(pipeline, rows_per_batch=4).generate(requests)
        assert all(np.abs(one.astype(int) - other.image).max() <= 1 for one, other in zip(mine, made, strict=True))


def test_the_pair_draws_the_sizes_of_its_table_alone(pipeline):
    with pytest.raises(ValueError, match=r"size: got \(64, 128\), expected one of"):
        experts_model(pipeline).check_size((64, 128))


def test_guidance_of_one_evaluates_one_branch(pipeline):
    model = experts_model(pipeline)
    for guidance, rows in ((1.0, 2), (0.0, 2), (3.0, 4)):
        prompted = model.told([Told("a", guidance=guidance), Told("b", guidance=guidance)], (64, 64))
        prompted.denoise(prompted.noise([1, 2]), 700)
        assert prompted.denoise.num_rows == rows


def test_a_fractional_timestep_reaches_the_network_as_it_is(pipeline):
    prompted = experts_model(pipeline).told([Told("a")], (64, 64))
    asked = []
    for network in (pipeline.structure, pipeline.texture):
        network.register_forward_pre_hook(lambda _, args: asked.append((args[1].item(), args[1].dtype)))
    with torch.no_grad():
        for t in (700, 700.5, 499.75, 0):
            prompted.denoise(prompted.noise([1]), t)
    assert asked == [(700, torch.int64), (700.5, torch.float32), (499.75, torch.float32), (0, torch.int64)]


def small_unet(channels, width, pooled):
    torch.manual_seed(3)
    return build_unet(
        "sample",
        in_channels=channels,
        out_channels=channels,
        block_out_channels=(16, 32),
        attention_head_dim=(2, 4),
        norm_num_groups=8,
        cross_attention_dim=width,
        projection_class_embeddings_input_dim=pooled + 256,
    ).eval()


def test_a_single_unet_is_told_words(text_encoder):
    model = single_unet_model(
        small_unet(3, 32, 48), PixelSpace(), copy.deepcopy(text_encoder), (8, 8), PredictionType.V
    )
    assert (model.num_conditions, model.schedule) == (0, NoiseSchedule())
    made = sample(model.told([Told("a red ball", guidance=2.0), Told("红色的球", guidance=2.0)], (8, 8)), [1, 1], 2)
    assert (made[0] != made[1]).any()


def test_a_single_unet_is_shown_a_picture(scorer_folder):
    encoder = ClipImageEncoder(scorer_folder)
    model = single_unet_model(small_unet(3, 48, 48), PixelSpace(), encoder, (8, 8), PredictionType.V)
    assert model.num_conditions == 1
    shown = [np.full((20, 12, 3), grey, np.uint8) for grey in (10, 240)]
    shown[1][:10] = 3
    features = encoder.encode(shown)
    assert features.tokens.shape == (2, 1, 48)
    assert torch.allclose(features.pooled.square().mean(1), torch.ones(2), atol=1e-5)
    assert torch.equal(encoder.encode(shown[1:]).pooled, features.pooled[1:])
    made = sample(model.told([Told("", "", 2.0, (image,)) for image in shown], (8, 8)), [1, 1], 2)
    assert (made[0] != made[1]).any()


def test_condition_images_take_the_pictures_size():
    images = [np.zeros((4, 4, 3), np.uint8), np.full((8, 2, 3), 255, np.uint8)]
    batch = image_batch(images, (6, 4))
    assert batch.shape == (2, 3, 6, 4)
    assert batch[0].max() == 0
    assert batch[1].min() == 1
