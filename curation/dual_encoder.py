"""The small bilingual dual encoder: its open_clip configuration, its text encoding and its folder on disk.

The folder is open_clip's own format, so that stock open_clip loads it offline:
`open_clip.create_model_and_transforms("local-dir:<folder>")` and `open_clip.get_tokenizer("local-dir:<folder>")`.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from torch import nn
from torch.nn import functional as F

from curation.torchvision_ops import declare_missing_ops

EMBED_DIM = 256
CONTEXT_LENGTH = 40
IMAGE_SIDE_PX = 96
PIXEL_MEAN = (0.5, 0.5, 0.5)
PIXEL_STD = (0.25, 0.25, 0.25)


def model_config(vocab_size: int) -> dict[str, Any]:
    """open_clip's `open_clip_config.json`: CustomTextCLIP with a ModifiedResNet and a causal text transformer.

    Pictures are squashed to a square, so that nothing at the edge of a wide or tall one is lost.
    """
    return {
        "model_cfg": {
            "embed_dim": EMBED_DIM,
            "custom_text": True,
            "vision_cfg": {"image_size": IMAGE_SIDE_PX, "layers": [2, 2, 3, 2], "width": 16, "patch_size": None},
            "text_cfg": {
                "context_length": CONTEXT_LENGTH,
                "vocab_size": vocab_size,
                "width": 192,
                "heads": 6,
                "layers": 4,
                "pool_type": "argmax",
                "hf_tokenizer_name": "tokenizer",
                "tokenizer_kwargs": {"clean": "lower"},
            },
        },
        "preprocess_cfg": {
            "size": IMAGE_SIDE_PX,
            "mean": list(PIXEL_MEAN),
            "std": list(PIXEL_STD),
            "interpolation": "bicubic",
            "resize_mode": "squash",
        },
    }


def build_dual_encoder(vocab_size: int) -> nn.Module:
    """The untrained model, built by open_clip from `model_config`: random weights, nobody else's inside."""
    declare_missing_ops()
    import open_clip

    config = model_config(vocab_size)["model_cfg"]
    config.pop("custom_text")
    model: nn.Module = open_clip.CustomTextCLIP(**config)
    return model


def token_ids(tokenizer: Tokenizer, texts: Sequence[str]) -> torch.Tensor:
    """Token ids (B, L) int64, padded with 0 to the longest text of the batch (L <= 40), `<end>` last."""
    encoded = [each.ids for each in tokenizer.encode_batch([text.lower() for text in texts])]
    longest = max(len(ids) for ids in encoded)
    return torch.tensor([ids + [0] * (longest - len(ids)) for ids in encoded])


def encode_ids(model: nn.Module, ids: torch.Tensor) -> torch.Tensor:
    """L2-normalised text embeddings (B, 256) of ids (B, L) with L <= 40.

    Attention is causal and `<end>` is read, so leaving out the padding behind it changes nothing but the time taken.
    """
    text: Any = model.text
    length = ids.shape[1]
    hidden = text.token_embedding(ids) + text.positional_embedding[:length]
    hidden = text.ln_final(text.transformer(hidden, attn_mask=text.attn_mask[:length, :length]))
    pooled = hidden[torch.arange(len(ids)), ids.argmax(dim=-1)] @ text.text_projection
    return F.normalize(pooled, dim=-1)


@torch.no_grad()
def encode_texts(model: nn.Module, tokenizer: Tokenizer, texts: Sequence[str], *, batch: int = 256) -> torch.Tensor:
    """L2-normalised embeddings (N, 256) of any number of texts, in order; similar lengths go together."""
    order = sorted(range(len(texts)), key=lambda index: len(texts[index].encode()))
    found = torch.zeros(len(texts), EMBED_DIM)
    for start in range(0, len(order), batch):
        chosen = order[start : start + batch]
        found[chosen] = encode_ids(model, token_ids(tokenizer, [texts[index] for index in chosen]))
    return found


def normalised_pixels(pictures: torch.Tensor) -> torch.Tensor:
    """Model input (B, 3, 96, 96) float32 from uint8 or float pictures in [0, 255]."""
    mean = torch.tensor(PIXEL_MEAN)[:, None, None]
    std = torch.tensor(PIXEL_STD)[:, None, None]
    return (pictures.float() / 255 - mean) / std


def save_dual_encoder(model: nn.Module, tokenizer: Tokenizer, folder: Path) -> None:
    """Write configuration, fp16 weights and tokenizer files that stock open_clip loads from the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    config = model_config(tokenizer.get_vocab_size())
    (folder / "open_clip_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    weights = {
        name: (value.half() if value.is_floating_point() else value).contiguous()
        for name, value in model.state_dict().items()
    }
    unfinished = folder / "unfinished.tmp"
    save_file(weights, unfinished, metadata={"format": "pt"})
    unfinished.chmod(0o644)  # safetensors writes for the owner alone; the model is for everybody's reading
    unfinished.replace(folder / "open_clip_model.safetensors")
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(
        json.dumps(
            {
                "tokenizer_class": "PreTrainedTokenizerFast",
                "pad_token": "<pad>",
                "bos_token": "<start>",
                "eos_token": "<end>",
                "model_max_length": CONTEXT_LENGTH,
                "clean_up_tokenization_spaces": False,
            },
            indent=2,
        )
        + "\n",
        encoding="utf-8",
    )
