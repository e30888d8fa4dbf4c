"""Network shapes as data: the full U-Net, two smaller ones, and the sample autoencoder.

All U-Nets are one diffusers class. The bucket row reaches them through `class_embed_type="projection"`: pooled text and
the 256-wide bucket embedding, concatenated, added to the time embedding.
Source: released PanGu-Draw code (an SDXL-base layout with an added vector of 1280 + 256).
"""

import json
from pathlib import Path
from typing import Any

import torch

from pangu.bucket_conditioning import EMBEDDING_WIDTH
from pangu.torchvision_ops import declare_missing_ops

declare_missing_ops()

from diffusers import AutoencoderTiny, UNet2DConditionModel  # noqa: E402  (torchvision's operators must exist first)
from diffusers.models.autoencoders.vae import AutoencoderTinyBlock  # noqa: E402

FULL_UNET_PARAMETERS = 2_565_825_284

FULL_UNET: dict[str, Any] = {
    "sample_size": 128,
    "in_channels": 4,
    "out_channels": 4,
    "block_out_channels": (320, 640, 1280),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "layers_per_block": 2,
    "transformer_layers_per_block": (1, 2, 10),
    "attention_head_dim": (5, 10, 20),
    "cross_attention_dim": 2048,
    "use_linear_projection": True,
    "class_embed_type": "projection",
    "projection_class_embeddings_input_dim": 1280 + EMBEDDING_WIDTH,
}

# The full layout at a quarter of the widths: heads stay 64 wide, and one level less depth at the bottom.
SMALL_UNET: dict[str, Any] = FULL_UNET | {
    "sample_size": 32,
    "block_out_channels": (64, 128, 256),
    "transformer_layers_per_block": (1, 1, 2),
    "attention_head_dim": (1, 2, 4),
    "norm_num_groups": 32,
}

SAMPLE_UNET: dict[str, Any] = {
    "sample_size": 16,
    "in_channels": 8,
    "out_channels": 8,
    "block_out_channels": (64, 128),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
    "layers_per_block": 1,
    "transformer_layers_per_block": (1, 1),
    "attention_head_dim": (1, 2),
    "norm_num_groups": 16,
    "cross_attention_dim": 192,
    "use_linear_projection": True,
    "class_embed_type": "projection",
    "projection_class_embeddings_input_dim": 256 + EMBEDDING_WIDTH,
}

UNETS: dict[str, dict[str, Any]] = {"full": FULL_UNET, "small": SMALL_UNET, "sample": SAMPLE_UNET}

# Two stride-2 stages (f = 4). The class needs equal widths in all stages.
SAMPLE_AUTOENCODER: dict[str, Any] = {
    "latent_channels": 8,
    "encoder_block_out_channels": (32, 32, 32),
    "decoder_block_out_channels": (32, 32, 32),
    "num_encoder_blocks": (1, 1, 2),
    "num_decoder_blocks": (2, 1, 1),
}


def build_unet(preset: str, **changes: object) -> UNet2DConditionModel:
    """A U-Net with random weights. `changes` replaces entries of the preset.

    Raises:
        ValueError: no such preset.
    """
    if preset not in UNETS:
        raise ValueError(f"unet preset: got {preset!r}, expected one of {', '.join(UNETS)}")
    return UNet2DConditionModel(**(UNETS[preset] | changes))


def load_unet(folder: Path) -> UNet2DConditionModel:
    """The U-Net of a folder that `save_pretrained` wrote, from safetensors."""
    return UNet2DConditionModel.from_pretrained(str(folder), use_safetensors=True)


def erase_origins(folder: Path) -> None:
    """Take the path a network was once read from out of the configs below a saved folder.

    diffusers writes it as ``_name_or_path``; with it, equal networks would not give equal files.
    """
    for path in (*folder.rglob("config.json"), *folder.rglob("model_index.json")):
        config = json.loads(path.read_text(encoding="utf-8"))
        if config.pop("_name_or_path", None) is not None:
            path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def build_sample_autoencoder(**changes: object) -> AutoencoderTiny:
    """The sample's small autoencoder, untrained: pixels to 8 channels at a quarter of the side.

    Every residual block starts as the identity and the output starts mid-grey; with the library's own initial weights the
    same training spends its first hundreds of steps on leaving a constant picture.
    """
    vae = AutoencoderTiny(**(SAMPLE_AUTOENCODER | changes))
    for module in vae.modules():
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                torch.nn.init.zeros_(module.bias)
    for module in vae.modules():
        if isinstance(module, AutoencoderTinyBlock):
            torch.nn.init.zeros_(module.conv[-1].weight)
    with torch.no_grad():
        vae.decoder.layers[-1].weight.mul_(0.3)
        vae.decoder.layers[-1].bias.fill_(0.5)
    return vae


def count_parameters(module: torch.nn.Module) -> int:
    """Number of parameters; works on the meta device."""
    return sum(parameter.numel() for parameter in module.parameters())
