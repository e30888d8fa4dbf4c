"""Frozen text encoders: prompts in, token features and one pooled vector out.

Every encoder runs in one fixed padded batch shape, so that a prompt's features never depend on its neighbours.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self

import torch
from safetensors.torch import load_file
from torch import Tensor

from pangu.torchvision_ops import declare_missing_ops

declare_missing_ops()

import open_clip  # noqa: E402  (torchvision's operators must exist first)
from diffusers.configuration_utils import ConfigMixin, register_to_config  # noqa: E402
from diffusers.models.modeling_utils import ModelMixin  # noqa: E402
from open_clip.tokenizer import HFTokenizer  # noqa: E402

FIXED_BATCH = 8


@dataclass(frozen=True)
class TextFeatures:
    """Features of N texts. tokens: (N, L, D) float32; pooled: (N, P) float32."""

    tokens: Tensor
    pooled: Tensor


class TextEncoder(Protocol):
    """What training and sampling need of a text encoder. The empty text is the unconditional input."""

    def encode(self, texts: Sequence[str]) -> TextFeatures:
        """Features of the texts, in order; each distinct text is computed once."""
        ...

    def count_tokens(self, text: str) -> int:
        """Tokens of the whole text, before any is cut off, with the start and end marks."""
        ...

    def has_unknown_token(self, text: str) -> bool:
        """True when some part of the text becomes an unknown token in any of the encoders."""
        ...

    @property
    def max_tokens(self) -> int:
        """Length to which texts are cut or padded."""
        ...


def encode_in_fixed_batches(texts: Sequence[str], forward: Callable[[list[str]], TextFeatures]) -> TextFeatures:
    """Run `forward` on the distinct texts, always `FIXED_BATCH` at a time, and give each text its features.

    forward: takes exactly `FIXED_BATCH` texts. Shapes as in `TextFeatures`.

    Raises:
        ValueError: there are no texts.
    """
    if not texts:
        raise ValueError("texts: got none, expected at least one")
    distinct = list(dict.fromkeys(texts))
    padding = [""] * (-len(distinct) % FIXED_BATCH)
    padded = distinct + padding
    parts = [forward(padded[i : i + FIXED_BATCH]) for i in range(0, len(padded), FIXED_BATCH)]
    place = {text: row for row, text in enumerate(distinct)}
    rows = torch.tensor([place[text] for text in texts])
    return TextFeatures(
        torch.cat([part.tokens for part in parts])[rows].float().cpu(),
        torch.cat([part.pooled for part in parts])[rows].float().cpu(),
    )


def check_prefixes(encoder: TextEncoder, prefixes: Sequence[str]) -> None:
    """Refuse a style prefix that some encoder cannot see.

    Raises:
        ValueError: a prefix becomes an unknown token.
    """
    for prefix in prefixes:
        if encoder.has_unknown_token(prefix):
            raise ValueError(f"style prefix: got {prefix!r}, expected text that every encoder's vocabulary knows")


_TOKENIZER_FILES = ("tokenizer*", "special_tokens_map.json", "added_tokens.json", "vocab.*", "merges.txt", "*.model")


class ClipTextEncoder(ModelMixin, ConfigMixin):
    """The text tower of an open_clip `CustomTextCLIP`, stored beside the U-Nets as a diffusers model.

    tokens: states of the layer before the last, through the final norm. pooled: the text embedding, scaled to a root
    mean square of 1, since CLIP gives its length no meaning.
    """

    config_name = "config.json"

    @register_to_config
    def __init__(self, embed_dim: int, text_cfg: dict[str, Any], quick_gelu: bool = False) -> None:
        """embed_dim, text_cfg, quick_gelu: as in `open_clip_config.json`."""
        super().__init__()
        self.tower = open_clip.model._build_text_tower(embed_dim, dict(text_cfg), quick_gelu)
        self.tokenizer: HFTokenizer | None = None
        self.tokenizer_files: dict[str, bytes] = {}

    @classmethod
    def load(cls, folder: Path) -> Self:
        """The text tower of a CLIP folder, or one that `save_pretrained` wrote, such as an expert pair's `text_encoder`.

        Raises:
            ValueError: see `from_scorer`; or the folder is neither.
        """
        if (folder / "open_clip_config.json").is_file():
            return cls.from_scorer(folder)
        if not (folder / "tokenizer").is_dir():
            raise ValueError(f"{folder}: got neither open_clip_config.json nor tokenizer/, expected one of them")
        return cls.from_pretrained(folder)

    @classmethod
    def from_scorer(cls, folder: Path) -> Self:
        """The frozen text tower of a CLIP folder (`open_clip_config.json`, weights as safetensors, tokenizer files).

        Raises:
            ValueError: the folder names no Hugging Face tokenizer, or its weights lack the text tower.
        """
        config = json.loads((folder / "open_clip_config.json").read_text(encoding="utf-8"))["model_cfg"]
        if not config["text_cfg"].get("hf_tokenizer_name"):
            raise ValueError(f"hf_tokenizer_name: got none in {folder}, expected tokenizer files in the folder")
        encoder: Self = cls(config["embed_dim"], config["text_cfg"], config.get("quick_gelu", False))
        weights = load_file(folder / "open_clip_model.safetensors")
        text = {
            name.removeprefix("text."): value.float() for name, value in weights.items() if name.startswith("text.")
        }
        missing, unexpected = encoder.tower.load_state_dict(text, strict=False)
        if unexpected or set(missing) - {"attn_mask"}:
            raise ValueError(f"text tower: got weights without {missing} and with {unexpected} in {folder}")
        encoder.tokenizer = encoder._load_tokenizer(folder)
        encoder.requires_grad_(False)
        encoder.eval()
        return encoder

    def _load_tokenizer(self, folder: Path) -> HFTokenizer:
        text_cfg = self.config.text_cfg
        # Kept as they are: what the tokenizer writes of itself depends on what it was last asked to do.
        found = {path for pattern in _TOKENIZER_FILES for path in folder.glob(pattern)}
        self.tokenizer_files = {path.name: path.read_bytes() for path in sorted(found)}
        return HFTokenizer(
            str(folder),
            context_length=self.max_tokens,
            tokenizer_mode=text_cfg.get("tokenizer_mode"),
            **(text_cfg.get("tokenizer_kwargs") or {}),
        )

    def save_pretrained(self, save_directory: str | Path, **settings: Any) -> None:  # noqa: ANN401  (passed through)
        """Write weights, config and tokenizer files."""
        super().save_pretrained(save_directory, **settings)
        self._require_tokenizer()
        folder = Path(save_directory) / "tokenizer"
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in self.tokenizer_files.items():
            (folder / name).write_bytes(data)

    @classmethod
    def from_pretrained(cls, path: str | Path, **settings: Any) -> Self:  # noqa: ANN401  (passed through)
        """Read what `save_pretrained` wrote, ready for use."""
        encoder: Self = super().from_pretrained(path, **settings)
        encoder.tokenizer = encoder._load_tokenizer(Path(path) / "tokenizer")
        encoder.requires_grad_(False)
        encoder.eval()
        return encoder

    @property
    def max_tokens(self) -> int:
        """Length to which texts are cut or padded."""
        return int(self.config.text_cfg.get("context_length", 77))

    def count_tokens(self, text: str) -> int:
        """See `TextEncoder`."""
        return len(self._require_tokenizer().tokenizer(text).input_ids)

    def has_unknown_token(self, text: str) -> bool:
        """See `TextEncoder`."""
        tokenizer = self._require_tokenizer().tokenizer
        return tokenizer.unk_token_id is not None and tokenizer.unk_token_id in tokenizer(text).input_ids

    def encode(self, texts: Sequence[str]) -> TextFeatures:
        """See `TextEncoder`."""
        return encode_in_fixed_batches(texts, self._forward)

    @torch.no_grad()
    def _forward(self, texts: list[str]) -> TextFeatures:
        ids = self._require_tokenizer()(texts).to(self.device)
        states = self.tower.forward_intermediates(ids, indices=2, normalize_intermediates=True, output_fmt="NLC")
        pooled = states["text_features"]
        return TextFeatures(states["text_intermediates"][0], pooled / pooled.square().mean(1, keepdim=True).sqrt())

    def _require_tokenizer(self) -> HFTokenizer:
        if self.tokenizer is None:
            raise ValueError("tokenizer: got none, expected an encoder made by from_scorer or from_pretrained")
        return self.tokenizer
