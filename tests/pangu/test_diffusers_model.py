"""Every kind of diffusers pipeline as a member, small and random, against what the pipeline itself draws."""

from functools import partial

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image

from pangu.autoencoder import to_uint8
from pangu.diffusers_model import diffusers_model
from pangu.fusion import WeightSchedule
from pangu.fusion_request import FusionRequest, Member, MemberRequest, Told, fuse
from pangu.prompted_model import sample
from pangu.unet_model import experts_model
from tests.pangu.small_pipelines import (
    FAMILIES,
    make_controlnet,
    make_depth,
    make_sd,
    make_sd_controlnet,
    make_sdxl,
    make_sdxl_controlnet,
    make_variation,
)

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning:diffusers")

KINDS = {
    "sd": make_sd,
    "sdxl": make_sdxl,
    "sd_controlnet": make_sd_controlnet,
    "sd_two_controlnets": partial(make_sd_controlnet, 2),
    "sdxl_controlnet": make_sdxl_controlnet,
    "variation": make_variation,
    "depth": make_depth,
}


@pytest.fixture(scope="module")
def pipelines():
    made = {}
    for name, make in KINDS.items():
        torch.manual_seed(0)
        made[name] = make()
        made[name].set_progress_bar_config(disable=True)
    return made


def picture(seed, size=(16, 16)):
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


def conditions(model, seed=0):
    return tuple(picture(seed + place) for place in range(model.num_conditions))


def as_the_member_steps(pipeline):
    """The pipeline with DDIM on the member's own timesteps."""
    settings = {"timestep_spacing": "trailing", "clip_sample": False, "set_alpha_to_one": True, "steps_offset": 0}
    pipeline.scheduler = diffusers.DDIMScheduler.from_config(pipeline.scheduler.config, **settings)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "depth"])
@pytest.mark.parametrize("negative", ["", "blue"])
def test_a_member_alone_draws_what_its_pipeline_draws(pipelines, kind, negative):
    pipeline = pipelines[kind]
    model = diffusers_model(pipeline)
    images = conditions(model)
    told = Told("green square", negative, 4.0, images, (0.7,) * model.num_conditions)
    mine = sample(model.told([told], (16, 16)), seeds=[101], steps=5)[0]
    as_the_member_steps(pipeline)
    settings = {"num_inference_steps": 5, "guidance_scale": 4.0, "output_type": "np"}
    settings["generator"] = torch.Generator().manual_seed(101)
    if kind == "variation":
        settings["image"] = Image.fromarray(images[0])
    else:
        settings |= {"prompt": "green square", "negative_prompt": negative or None}
    if "controlnet" in kind:
        pictures = [Image.fromarray(image) for image in images]
        single = len(pictures) == 1
        settings["image"] = pictures[0] if single else pictures
        settings["controlnet_conditioning_scale"] = 0.7 if single else [0.7, 0.7]
    theirs = pipeline(height=16, width=16, **settings).images[0]
    assert np.abs(mine - theirs * 255).max() < 1.5
    assert mine.std() > 1


def test_depth_reaches_the_network_stretched_and_beside_the_latents(pipelines):
    pipeline = pipelines["depth"]
    model = diffusers_model(pipeline)
    near = np.full((16, 16, 3), 60, np.uint8)
    near[4:12, 4:12] = 200
    prompted = model.told([Told("green square", "blue", 3.0, (near,), (1.0,))], (16, 16))
    x_t = prompted.noise([1])
    with torch.no_grad():
        x0 = prompted.denoise(x_t, 500)
        depth = torch.full((1, 1, 8, 8), -1.0)
        depth[..., 2:6, 2:6] = 1.0
        expected = 0
        for text, weight in (("blue", -2.0), ("green square", 3.0)):
            tokens = pipeline.encode_prompt([text], "cpu", 1, False)[0]
            eps = pipeline.unet(torch.cat([x_t, depth], 1), 500, encoder_hidden_states=tokens).sample
            signal, spread = model.schedule.signal_and_noise_rates(500, x_t)
            expected = expected + weight * (x_t - spread * eps) / signal
    inside = (slice(None), slice(None), slice(3, 5), slice(3, 5))
    assert (x0 - expected).abs()[inside].max() < 0.15 * expected.abs().max()  # the bicubic edge alone differs
    assert (x0 - expected).abs().mean() < 0.05 * expected.abs().mean()


@pytest.mark.parametrize("kind", ["sd_controlnet", "sd_two_controlnets", "sdxl_controlnet", "variation", "depth"])
def test_every_condition_image_counts(pipelines, kind):
    model = diffusers_model(pipelines[kind])
    images = conditions(model)
    first = sample(model.told([Told("a", "", 2.0, images)], (16, 16)), [1], 2)
    for place in range(model.num_conditions):
        changed = (*images[:place], picture(50), *images[place + 1 :])
        assert (sample(model.told([Told("a", "", 2.0, changed)], (16, 16)), [1], 2) != first).any()


def test_a_controlnet_of_scale_zero_is_none_and_more_of_them_join_a_plain_pipeline(pipelines):
    plain = pipelines["sd"]
    torch.manual_seed(1)
    nets = [make_controlnet(plain.unet) for _ in range(2)]
    alone = sample(diffusers_model(plain).told([Told("a star", "", 2.0)], (16, 16)), [3], 3)
    model = diffusers_model(plain, nets)
    assert model.num_conditions == 2
    images = conditions(model)

    def drawn(*scales):
        return sample(model.told([Told("a star", "", 2.0, images, scales)], (16, 16)), [3], 3)

    assert (drawn(0.0, 0.0) == alone).all()
    assert (drawn(1.0, 0.0) != alone).any()
    assert (drawn(1.0, 1.0) != drawn(1.0, 0.0)).any()


def test_any_two_kinds_fuse_and_an_expert_pair_with_each(pipelines, pipeline):
    """The pair at 64 px on its own schedule; the others at 16 px on theirs: latents of two shapes, five schedules."""
    members = {kind: Member(kind, diffusers_model(made), guidance=2.0) for kind, made in pipelines.items()}
    torch.manual_seed(2)
    net = make_pair_controlnet(pipeline)
    members |= {
        "pair": Member("pair", experts_model(pipeline)),
        "edges": Member("edges", experts_model(pipeline, [net])),
    }

    def part(kind, weight=None):
        return MemberRequest(kind, "a star", weight=weight, condition_images=conditions(members[kind].model))

    half = WeightSchedule.constant(0.5)
    pairs = [("pair", kind) for kind in KINDS] + [("edges", "sdxl_controlnet"), ("sd", "sdxl"), ("depth", "edges")]
    for lead, other in pairs:
        request = FusionRequest((part(lead), part(other, half)), seed=5, steps=2)
        alone = FusionRequest((part(lead),), seed=5, steps=2)
        made, solo = fuse(members, [request, alone])
        assert made.shape == ((64, 64, 3) if lead in ("pair", "edges") else (16, 16, 3))
        assert (made != solo).any(), (lead, other)


def make_pair_controlnet(pipeline):
    net = diffusers.ControlNetModel.from_unet(pipeline.structure, conditioning_embedding_out_channels=(8, 8, 8))
    for module in (*net.controlnet_down_blocks, net.controlnet_mid_block, net.controlnet_cond_embedding.conv_out):
        torch.nn.init.normal_(module.weight, std=0.3)
    return net


@pytest.mark.parametrize("family", ["pixart", "sd3"])
def test_other_pipelines_are_refused(family):
    torch.manual_seed(0)
    with pytest.raises(ValueError, match=r"pipeline: got .*expected one of StableDiffusionPipeline"):
        diffusers_model(FAMILIES[family]())


def test_sizes_that_the_network_cannot_draw_are_refused(pipelines):
    model = diffusers_model(pipelines["sd"])
    model.check_size((16, 32))
    with pytest.raises(ValueError, match=r"size: got \(16, 18\)"):
        model.check_size((16, 18))


def test_a_prompted_member_previews_its_picture(pipelines):
    model = diffusers_model(pipelines["sd"]).told([Told("a", guidance=1.0)], (16, 16))
    shown = []
    made = sample(model, [1], 2, on_step=lambda step, total, preview: shown.append(preview()))
    assert (shown[-1] == made).all()
    with torch.no_grad():
        assert to_uint8(model.space.decode(model.noise([1]))).shape == shown[0].shape
