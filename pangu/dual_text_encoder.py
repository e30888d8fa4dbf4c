"""The production text encoder: a Chinese CLIP tower and OpenCLIP bigG side by side, both frozen.

Both read the same raw prompt, cut or padded to one length; the states before the last layer are joined on the feature
axis (768 + 1280 = 2048), and the pooled vector is bigG's.
Source: released PanGu-Draw code. Its Chinese encoder is not public; any ChineseCLIP text tower stands in its place.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from pangu.text_encoder import TextFeatures, encode_in_fixed_batches
from pangu.torchvision_ops import declare_missing_ops

declare_missing_ops()

from diffusers.configuration_utils import ConfigMixin, register_to_config  # noqa: E402  (operators must exist first)
from diffusers.models.modeling_utils import ModelMixin  # noqa: E402
from transformers import (  # noqa: E402
    AutoTokenizer,
    ChineseCLIPTextConfig,
    ChineseCLIPTextModel,
    CLIPTextConfig,
    CLIPTextModelWithProjection,
)

TOKENIZER_FOLDERS = {"chinese": "tokenizer_chinese", "english": "tokenizer_english"}


class DualTextEncoder(ModelMixin, ConfigMixin):
    """Two text towers as one encoder.

    tokens: (N, max_length, chinese width + english width); pooled: (N, english projection width).
    """

    config_name = "config.json"

    @register_to_config
    def __init__(self, chinese: dict[str, Any], english: dict[str, Any], max_length: int = 77) -> None:
        """chinese, english: the configs of a `ChineseCLIPTextModel` and a `CLIPTextModelWithProjection`."""
        super().__init__()
        self.chinese_tower = ChineseCLIPTextModel(ChineseCLIPTextConfig(**chinese), add_pooling_layer=False)
        self.english_tower = CLIPTextModelWithProjection(CLIPTextConfig(**english))
        self.tokenizers: dict[str, Any] = {}

    @classmethod
    def from_towers(cls, chinese: Path, english: Path, max_length: int = 77) -> Self:
        """Join two local folders of the transformers library, each with its tokenizer."""
        towers = {
            "chinese": ChineseCLIPTextModel.from_pretrained(chinese, add_pooling_layer=False, use_safetensors=True),
            "english": CLIPTextModelWithProjection.from_pretrained(english, use_safetensors=True),
        }
        configs = {name: tower.config.to_diff_dict() for name, tower in towers.items()}
        encoder: Self = cls(**configs, max_length=max_length)
        for name, tower in towers.items():
            getattr(encoder, f"{name}_tower").load_state_dict(tower.float().state_dict())
        encoder.tokenizers = {
            "chinese": AutoTokenizer.from_pretrained(chinese),
            "english": AutoTokenizer.from_pretrained(english),
        }
        encoder.requires_grad_(False)
        encoder.eval()
        return encoder

    def save_pretrained(self, save_directory: str | Path, **settings: Any) -> None:  # noqa: ANN401  (passed through)
        """Write weights, config and both tokenizers."""
        super().save_pretrained(save_directory, **settings)
        for name, tokenizer in self.tokenizers.items():
            tokenizer.save_pretrained(Path(save_directory) / TOKENIZER_FOLDERS[name])

    @classmethod
    def from_pretrained(cls, path: str | Path, **settings: Any) -> Self:  # noqa: ANN401  (passed through)
        """Read what `save_pretrained` wrote, ready for use."""
        encoder: Self = super().from_pretrained(path, **settings)
        encoder.tokenizers = {
            name: AutoTokenizer.from_pretrained(Path(path) / folder) for name, folder in TOKENIZER_FOLDERS.items()
        }
        encoder.requires_grad_(False)
        encoder.eval()
        return encoder

    @property
    def max_tokens(self) -> int:
        """Length to which texts are cut or padded."""
        return int(self.config.max_length)

    def count_tokens(self, text: str) -> int:
        """See `TextEncoder`; the longer of the two readings."""
        return max(len(tokenizer(text).input_ids) for tokenizer in self.tokenizers.values())

    def has_unknown_token(self, text: str) -> bool:
        """See `TextEncoder`."""
        return any(
            _unknown_id(tokenizer) in tokenizer(text, add_special_tokens=False).input_ids
            for tokenizer in self.tokenizers.values()
        )

    def encode(self, texts: Sequence[str]) -> TextFeatures:
        """See `TextEncoder`."""
        return encode_in_fixed_batches(texts, self._forward)

    @torch.no_grad()
    def _forward(self, texts: list[str]) -> TextFeatures:
        # The pad positions are attended to in the English tower, as in SDXL; the Chinese one masks them, as in BERT.
        chinese_ids, mask = self._tokenize("chinese", texts)
        english_ids, _ = self._tokenize("english", texts)
        chinese = self.chinese_tower(input_ids=chinese_ids, attention_mask=mask, output_hidden_states=True)
        english = self.english_tower(input_ids=english_ids, output_hidden_states=True)
        tokens = torch.cat([chinese.hidden_states[-2], english.hidden_states[-2]], dim=-1)
        return TextFeatures(tokens, english.text_embeds)

    def _tokenize(self, name: str, texts: list[str]) -> tuple[Tensor, Tensor]:
        read = self.tokenizers[name](
            texts, padding="max_length", truncation=True, max_length=self.max_tokens, return_tensors="pt"
        )
        return read.input_ids.to(self.device), read.attention_mask.to(self.device)


def _unknown_id(tokenizer: Any) -> int | None:  # noqa: ANN401  (any transformers tokenizer)
    """The id of the unknown token; None where every text can be spelled or the mark doubles as the end of text."""
    unknown = tokenizer.unk_token_id
    return None if unknown is None or unknown == tokenizer.eos_token_id else int(unknown)
