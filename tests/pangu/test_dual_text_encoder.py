import pytest
import torch
from transformers import BertTokenizer

from pangu.dual_text_encoder import (
    ChineseCLIPTextConfig,
    ChineseCLIPTextModel,
    CLIPTextConfig,
    CLIPTextModelWithProjection,
    DualTextEncoder,
)
from pangu.text_encoder import check_prefixes

TEXTS = ["a red ball", "", "红色的球", "a red ball"]
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"红色的球义饕", "a", "red", "ball"]


@pytest.fixture(scope="module")
def towers(tmp_path_factory, write_clip_tokenizer):
    torch.manual_seed(0)
    shape = {"num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 32}
    chinese, english = tmp_path_factory.mktemp("chinese"), tmp_path_factory.mktemp("english")
    (chinese / "vocab.txt").write_text("\n".join(WORDS), encoding="utf-8")
    BertTokenizer(str(chinese / "vocab.txt")).save_pretrained(chinese)
    config = ChineseCLIPTextConfig(vocab_size=len(WORDS), hidden_size=16, max_position_embeddings=77, **shape)
    ChineseCLIPTextModel(config, add_pooling_layer=False).save_pretrained(chinese)
    size = write_clip_tokenizer(english, 77)
    ends = {"bos_token_id": 1, "eos_token_id": size - 1, "pad_token_id": 0}
    config = CLIPTextConfig(
        vocab_size=size, hidden_size=24, projection_dim=20, max_position_embeddings=77, **ends, **shape
    )
    CLIPTextModelWithProjection(config).save_pretrained(english)
    return chinese, english


@pytest.fixture(scope="module")
def encoder(towers):
    return DualTextEncoder.from_towers(*towers)


def test_both_towers_are_joined_at_the_layer_before_the_last(encoder, towers):
    features = encoder.encode(TEXTS)
    assert features.tokens.shape == (4, 77, 16 + 24)
    assert features.pooled.shape == (4, 20)
    english = CLIPTextModelWithProjection.from_pretrained(towers[1]).eval()
    ids = encoder.tokenizers["english"](TEXTS, padding="max_length", max_length=77, return_tensors="pt").input_ids
    with torch.no_grad():
        out = english(input_ids=ids, output_hidden_states=True)
    assert torch.allclose(features.tokens[..., 16:], out.hidden_states[-2], atol=1e-5)
    assert torch.allclose(features.pooled, out.text_embeds, atol=1e-5)


def test_a_texts_features_do_not_depend_on_its_neighbours(encoder):
    together = encoder.encode(TEXTS)
    for row, text in enumerate(TEXTS):
        assert torch.equal(encoder.encode([text]).tokens[0], together.tokens[row])


def test_it_is_stored_with_both_tokenizers(encoder, tmp_path):
    encoder.save_pretrained(tmp_path)
    again = DualTextEncoder.from_pretrained(tmp_path)
    assert torch.equal(again.encode(TEXTS).tokens, encoder.encode(TEXTS).tokens)
    assert torch.equal(again.encode(TEXTS).pooled, encoder.encode(TEXTS).pooled)


def test_a_prefix_unknown_to_one_tower_is_refused(encoder):
    check_prefixes(encoder, ["义 ", "饕 "])
    with pytest.raises(ValueError, match="霙"):
        check_prefixes(encoder, ["霙 "])
