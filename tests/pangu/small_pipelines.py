"""Small pipelines of real diffusers classes with random weights."""

from pangu.torchvision_ops import declare_missing_ops

declare_missing_ops()

import diffusers  # noqa: E402  (torchvision's operators must exist first)
import torch  # noqa: E402
from transformers import (  # noqa: E402
    CLIPImageProcessor,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
    DPTConfig,
    DPTForDepthEstimation,
    DPTImageProcessor,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
)

LETTERS = "abcdefghijklmnopqrstuvwxyz"
WIDTH = 16


def make_clip(projected=False):
    marks = ["<|startoftext|>", "<|endoftext|>"]
    vocabulary = {token: number for number, token in enumerate([*LETTERS, *(c + "</w>" for c in LETTERS), *marks])}
    tokenizer = CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=12)
    sizes = {"hidden_size": WIDTH, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = CLIPTextConfig(
        vocab_size=len(vocabulary),
        max_position_embeddings=12,
        projection_dim=WIDTH,
        bos_token_id=vocabulary[marks[0]],
        eos_token_id=vocabulary[marks[1]],
        **sizes,
    )
    return tokenizer, (CLIPTextModelWithProjection if projected else CLIPTextModel)(config)


def make_t5(width=WIDTH):
    vocabulary = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0), *((letter, -3.0) for letter in LETTERS)]
    tokenizer = T5Tokenizer(vocab=vocabulary, extra_ids=0)
    config = T5Config(vocab_size=len(vocabulary), d_model=width, d_kv=8, d_ff=32, num_layers=1, num_heads=2)
    return tokenizer, T5EncoderModel(config)


def make_vae(**settings):
    blocks = {"down_block_types": ["DownEncoderBlock2D"] * 2, "up_block_types": ["UpDecoderBlock2D"] * 2}
    sizes = {"block_out_channels": (8, 8), "norm_num_groups": 4, "latent_channels": 4, "sample_size": 16}
    return diffusers.AutoencoderKL(**blocks, **sizes, **settings)


def make_unet(**settings):
    return diffusers.UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(8, 16),
        layers_per_block=1,
        norm_num_groups=4,
        attention_head_dim=2,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        **settings,
    )


def make_sd():
    tokenizer, text_encoder = make_clip()
    betas = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
    return diffusers.StableDiffusionPipeline(
        vae=make_vae(),
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        unet=make_unet(cross_attention_dim=WIDTH),
        scheduler=diffusers.PNDMScheduler(**betas, skip_prk_steps=True, steps_offset=1, set_alpha_to_one=False),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def make_sdxl():
    (tokenizer, text_encoder), (tokenizer_2, text_encoder_2) = make_clip(), make_clip(projected=True)
    unet = make_unet(
        cross_attention_dim=2 * WIDTH,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=WIDTH + 6 * 8,
    )
    return diffusers.StableDiffusionXLPipeline(
        vae=make_vae(),
        text_encoder=text_encoder,
        text_encoder_2=text_encoder_2,
        tokenizer=tokenizer,
        tokenizer_2=tokenizer_2,
        unet=unet,
        scheduler=diffusers.EulerDiscreteScheduler(beta_schedule="scaled_linear", timestep_spacing="leading"),
        add_watermarker=False,
    )


def make_pixart():
    tokenizer, text_encoder = make_t5()
    transformer = diffusers.PixArtTransformer2DModel(
        sample_size=8,
        num_layers=1,
        patch_size=2,
        attention_head_dim=8,
        num_attention_heads=2,
        cross_attention_dim=16,
        caption_channels=WIDTH,
        in_channels=4,
        out_channels=8,
    )
    return diffusers.PixArtSigmaPipeline(
        tokenizer=tokenizer,
        text_encoder=text_encoder,
        vae=make_vae(),
        transformer=transformer,
        scheduler=diffusers.DPMSolverMultistepScheduler(),
    )


def make_sd3():
    (tokenizer, text_encoder), (tokenizer_2, text_encoder_2) = make_clip(True), make_clip(True)
    tokenizer_3, text_encoder_3 = make_t5(2 * WIDTH)
    transformer = diffusers.SD3Transformer2DModel(
        sample_size=8,
        patch_size=2,
        in_channels=4,
        out_channels=4,
        num_layers=1,
        attention_head_dim=8,
        num_attention_heads=2,
        caption_projection_dim=16,
        joint_attention_dim=2 * WIDTH,
        pooled_projection_dim=2 * WIDTH,
    )
    return diffusers.StableDiffusion3Pipeline(
        transformer=transformer,
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(),
        vae=make_vae(shift_factor=0.1, use_quant_conv=False, use_post_quant_conv=False),
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        text_encoder_2=text_encoder_2,
        tokenizer_2=tokenizer_2,
        text_encoder_3=text_encoder_3,
        tokenizer_3=tokenizer_3,
    )


FAMILIES = {"sd": make_sd, "sdxl": make_sdxl, "pixart": make_pixart, "sd3": make_sd3}


def make_controlnet(unet):
    """With the last, zero convolutions filled, so that it counts."""
    net = diffusers.ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=(8, 8))
    for module in (*net.controlnet_down_blocks, net.controlnet_mid_block, net.controlnet_cond_embedding.conv_out):
        torch.nn.init.normal_(module.weight, std=0.3)
    return net


def make_sd_controlnet(nets=1):
    plain = make_sd()
    controlnets = [make_controlnet(plain.unet) for _ in range(nets)]
    parts = {name: part for name, part in plain.components.items() if name != "image_encoder"}
    return diffusers.StableDiffusionControlNetPipeline(
        **parts, controlnet=controlnets if nets > 1 else controlnets[0], requires_safety_checker=False
    )


def make_sdxl_controlnet():
    plain = make_sdxl()
    names = ("vae", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2", "unet", "scheduler")
    parts = {name: getattr(plain, name) for name in names}
    return diffusers.StableDiffusionXLControlNetPipeline(
        **parts, controlnet=make_controlnet(plain.unet), add_watermarker=False
    )


def make_variation():
    sizes = {"hidden_size": WIDTH, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = CLIPVisionConfig(image_size=16, patch_size=8, projection_dim=WIDTH, **sizes)
    return diffusers.StableDiffusionImageVariationPipeline(
        vae=make_vae(),
        image_encoder=CLIPVisionModelWithProjection(config),
        unet=make_unet(cross_attention_dim=WIDTH),
        scheduler=diffusers.PNDMScheduler(beta_schedule="scaled_linear", skip_prk_steps=True, steps_offset=1),
        safety_checker=None,
        feature_extractor=CLIPImageProcessor(size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16}),
        requires_safety_checker=False,
    )


def make_upscaler():
    """Four times the side; its U-Net sees the small picture beside the latents, and is told how noisy that is."""
    tokenizer, text_encoder = make_clip()
    unet = make_unet(in_channels=7, out_channels=4, cross_attention_dim=WIDTH, num_class_embeds=1000)
    vae = diffusers.AutoencoderKL(
        down_block_types=["DownEncoderBlock2D"] * 3,
        up_block_types=["UpDecoderBlock2D"] * 3,
        block_out_channels=(8, 8, 8),
        norm_num_groups=4,
        latent_channels=4,
        scaling_factor=0.08333,
    )
    return diffusers.StableDiffusionUpscalePipeline(
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        unet=unet,
        low_res_scheduler=diffusers.DDPMScheduler(beta_schedule="squaredcos_cap_v2"),
        scheduler=diffusers.DDIMScheduler(prediction_type="v_prediction"),
        max_noise_level=350,
    )


def make_depth_estimator():
    """A depth model and its preprocessing."""
    config = DPTConfig(
        hidden_size=16,
        num_hidden_layers=4,
        num_attention_heads=2,
        intermediate_size=16,
        image_size=16,
        patch_size=8,
        backbone_out_indices=[0, 1, 2, 3],
        neck_hidden_sizes=[4, 4, 8, 8],
        fusion_hidden_size=8,
    )
    return DPTForDepthEstimation(config), DPTImageProcessor(size={"height": 16, "width": 16})


def make_depth():
    tokenizer, text_encoder = make_clip()
    estimator, processor = make_depth_estimator()
    return diffusers.StableDiffusionDepth2ImgPipeline(
        vae=make_vae(),
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        unet=make_unet(cross_attention_dim=WIDTH, in_channels=5),
        scheduler=diffusers.DDIMScheduler(
            beta_schedule="scaled_linear", timestep_spacing="trailing", clip_sample=False
        ),
        depth_estimator=estimator,
        feature_extractor=processor,
    )


def save_members(root):
    """Folders of `root`: `sd`, `sd_tuned` with its autoencoder, `sdxl`, and `edges`, a ControlNet of the first."""
    torch.manual_seed(0)
    plain = make_sd()
    plain.save_pretrained(root / "sd")
    make_controlnet(plain.unet).save_pretrained(root / "edges")
    plain.unet = make_sd().unet
    plain.save_pretrained(root / "sd_tuned")
    make_sdxl().save_pretrained(root / "sdxl")
