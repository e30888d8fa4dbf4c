import pytest
import torch

from pangu.text_encoder import (
    FIXED_BATCH,
    ClipTextEncoder,
    TextFeatures,
    check_prefixes,
    encode_in_fixed_batches,
    open_clip,
)

TEXTS = ["a red ball", "", "红色的球", "a red ball", "green square on a white ground"]


def test_a_texts_features_do_not_depend_on_its_neighbours(text_encoder):
    together = text_encoder.encode(TEXTS)
    for row, text in enumerate(TEXTS):
        alone = text_encoder.encode([text])
        assert torch.equal(alone.tokens[0], together.tokens[row])
        assert torch.equal(alone.pooled[0], together.pooled[row])
    backwards = text_encoder.encode(TEXTS[::-1])
    assert torch.equal(backwards.tokens.flip(0), together.tokens)


def test_each_distinct_text_is_computed_once_in_one_shape():
    seen = []

    def forward(texts):
        seen.append(texts)
        return TextFeatures(torch.zeros(len(texts), 1, 1), torch.zeros(len(texts), 1))

    encode_in_fixed_batches(["a", "b", "a"] * 10, forward)
    assert seen == [["a", "b"] + [""] * (FIXED_BATCH - 2)]


def test_pooled_is_the_clips_own_text_embedding_and_tokens_are_the_layer_before_the_last(text_encoder, scorer_folder):
    clip, _ = open_clip.create_model_from_pretrained(f"local-dir:{scorer_folder}")
    clip.eval()
    ids = open_clip.get_tokenizer(f"local-dir:{scorer_folder}")(TEXTS)
    features = text_encoder.encode(TEXTS)
    with torch.no_grad():
        expected = clip.encode_text(ids, normalize=True)
        x, mask = clip.text._embeds(ids)
        for block in clip.text.transformer.resblocks[:-1]:
            x = block(x, attn_mask=mask)
        tokens = clip.text.ln_final(x)
    assert torch.allclose(torch.nn.functional.normalize(features.pooled), expected, atol=1e-5)
    assert features.pooled.square().mean(1).tolist() == pytest.approx([1.0] * 5, rel=1e-5)
    assert torch.allclose(features.tokens, tokens, atol=1e-5)


def test_an_encoder_is_stored_with_its_tokenizer(text_encoder, tmp_path):
    text_encoder.save_pretrained(tmp_path)
    again = ClipTextEncoder.from_pretrained(tmp_path)
    assert torch.equal(again.encode(TEXTS).tokens, text_encoder.encode(TEXTS).tokens)
    assert again.max_tokens == 40
    assert not any(parameter.requires_grad for parameter in again.parameters())


def test_an_encoder_is_loaded_from_a_clip_folder_and_from_a_stored_one(text_encoder, scorer_folder, tmp_path):
    text_encoder.save_pretrained(tmp_path / "stored")
    for folder in (scorer_folder, tmp_path / "stored"):
        again = ClipTextEncoder.load(folder)
        assert torch.equal(again.encode(TEXTS).tokens, text_encoder.encode(TEXTS).tokens)
    with pytest.raises(ValueError, match=r"got neither open_clip_config\.json nor tokenizer/"):
        ClipTextEncoder.load(tmp_path)


def test_long_texts_are_counted_before_they_are_cut(text_encoder):
    assert text_encoder.count_tokens("") == 2
    assert text_encoder.count_tokens("ball " * 50) > text_encoder.max_tokens
    assert text_encoder.encode(["ball " * 50]).tokens.shape == (1, 40, 32)


def test_a_prefix_no_encoder_knows_is_refused(text_encoder):
    check_prefixes(text_encoder, ["义 ", "饕 "])
    tokenizer = text_encoder.tokenizer.tokenizer
    tokenizer.unk_token = "<pad>"
    try:
        with pytest.raises(ValueError, match="style prefix"):
            check_prefixes(text_encoder, ["<pad> "])
    finally:
        tokenizer.unk_token = None


def test_no_texts_are_refused(text_encoder):
    with pytest.raises(ValueError, match="texts"):
        text_encoder.encode([])
