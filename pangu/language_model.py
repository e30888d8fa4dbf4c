"""The causal language model behind the enhancer: loaded from a folder or the hub, or built small and from nothing.

Everything else of it is transformers' own: any class that `AutoModelForCausalLM` knows, with the tokenizer beside it.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from pangu.torchvision_ops import declare_missing_ops

declare_missing_ops()  # transformers imports torchvision on the way to a model's class

END, PAD = "<|end|>", "<|pad|>"
CARD = "enhancer.json"
INSTRUCTION = {
    "en": "Rewrite the picture prompt with a background and a style. Keep what it asks for.",
    "zh": "请为这个画面描述补充背景和风格，保留原来的内容。",
}
"""What a chat model is told, in the prompt's language."""

_SHAPES: dict[str, dict[str, int]] = {
    "sample": {"hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 3, "num_attention_heads": 4},
    "tiny": {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2},
}


class EnhancerCard(BaseModel):
    """What stands in `enhancer.json` beside the weights: how a prompt is put to this model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    template: Literal["plain", "chat"] = "plain"
    temperature: float = 0.8
    top_p: float = 0.95
    max_new_tokens: int = 96
    facts: dict[str, Any] = {}


@dataclass(frozen=True)
class LanguageModel:
    """A causal language model, its tokenizer and its card."""

    model: Any
    tokenizer: Any
    card: EnhancerCard

    @property
    def end_id(self) -> int:
        """The token that ends an answer."""
        return int(self.tokenizer.eos_token_id)

    @property
    def pad_id(self) -> int:
        """The token of padding, which counts nowhere."""
        pad = self.tokenizer.pad_token_id
        return self.end_id if pad is None else int(pad)

    def prompt_tokens(self, prompt: str, language: str) -> list[int]:
        """The tokens after which the model answers."""
        if self.card.template == "plain":
            return [
                int(token) for token in self.tokenizer(f"{prompt.strip()}\n", add_special_tokens=False)["input_ids"]
            ]
        turns = [
            {"role": "system", "content": INSTRUCTION["zh" if language == "zh" else "en"]},
            {"role": "user", "content": prompt.strip()},
        ]
        text = self.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        return [int(token) for token in self.tokenizer(text, add_special_tokens=False)["input_ids"]]

    def answer_tokens(self, text: str) -> list[int]:
        """The tokens of an answer, its end included."""
        return [*self.tokenizer(text.strip(), add_special_tokens=False)["input_ids"], self.end_id]

    def read_answer(self, tokens: Iterable[int]) -> str:
        """The text of answered tokens up to the end."""
        kept: list[int] = []
        for token in tokens:
            if token in (self.end_id, self.pad_id):
                break
            kept.append(int(token))
        return str(self.tokenizer.decode(kept, skip_special_tokens=True)).strip()

    def save(self, folder: Path, card: EnhancerCard | None = None) -> None:
        """Write weights (safetensors), tokenizer and card as one folder that transformers and `load` read."""
        self.model.save_pretrained(folder, safe_serialization=True)
        self.tokenizer.save_pretrained(folder)
        (folder / CARD).write_text((card or self.card).model_dump_json(indent=1) + "\n", encoding="utf-8")


def load_language_model(source: str, device: str = "cpu", card: EnhancerCard | None = None) -> LanguageModel:
    """A model by folder or by hub id@revision; `card` where the folder has none of ours.

    Raises:
        ValueError: there is no such model, it has no end token, or a chat template is asked of a tokenizer without one.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    name, _, revision = source.partition("@") if not Path(source).is_dir() else (source, "", "")
    if not Path(source).is_dir() and not revision:
        raise ValueError(f"model: {source!r} is no folder; accepted is a folder, or hub id@revision")
    pinned = {"revision": revision} if revision else {}
    try:
        tokenizer = AutoTokenizer.from_pretrained(name, **pinned)
        model = AutoModelForCausalLM.from_pretrained(name, use_safetensors=True, **pinned)
    except (OSError, ValueError) as error:
        said = " ".join(str(error).split())[:300]
        raise ValueError(f"model: {source!r} cannot be loaded: {said}") from error
    stored = Path(name) / CARD
    if card is None:
        card = read_card(stored) if stored.is_file() else EnhancerCard()
    if tokenizer.eos_token_id is None:
        raise ValueError(f"model: the tokenizer of {source!r} has no end token; accepted is one with eos_token")
    if card.template == "chat" and not tokenizer.chat_template:
        raise ValueError(
            f"template: 'chat' asked of {source!r}, whose tokenizer has no chat template; accepted is 'plain'"
        )
    return LanguageModel(model.to(device).eval(), tokenizer, card)


def read_card(path: Path) -> EnhancerCard:
    """The card in a file."""
    return EnhancerCard.model_validate(json.loads(path.read_text(encoding="utf-8")))


def train_tokenizer(texts: Iterable[str], vocabulary: int) -> Any:  # noqa: ANN401 transformers' classes are untyped
    """A byte-level BPE tokenizer of these texts: every text of any language has tokens, and none is unknown.

    No token goes beyond one Han character, and a text's first word has the space before it that it would have elsewhere:
    the words of a short prompt are then the same tokens in its enrichment, and need only be copied.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Prepend(" ")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex("[\u3400-\u4dbf\u4e00-\u9fff]"), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=[END, PAD], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END, pad_token=PAD)


def build_language_model(
    texts: Iterable[str], *, shape: str = "sample", vocabulary: int = 2048, seed: int = 0
) -> LanguageModel:
    """A small model of Llama's class with random weights, and a tokenizer of these texts.

    Raises:
        ValueError: there is no such shape.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    if shape not in _SHAPES:
        raise ValueError(f"shape: {shape!r} is unknown; accepted are {', '.join(_SHAPES)}")
    tokenizer = train_tokenizer(texts, vocabulary)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        max_position_embeddings=512,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        **_SHAPES[shape],
    )
    torch.manual_seed(seed)
    return LanguageModel(LlamaForCausalLM(config).eval(), tokenizer, EnhancerCard())
