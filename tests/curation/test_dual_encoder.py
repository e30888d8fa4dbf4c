import json
import re

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from curation.dual_encoder import (
    CONTEXT_LENGTH,
    EMBED_DIM,
    IMAGE_SIDE_PX,
    build_dual_encoder,
    encode_texts,
    save_dual_encoder,
)
from curation.dual_encoder_tokenizer import CHINESE_CHARACTER, fit_tokenizer
from curation.sample.scene_captions import caption_en, caption_zh
from curation.sample.scenes import random_scene


@pytest.fixture(scope="module")
def texts():
    rng = np.random.default_rng(0)
    scenes = [random_scene(rng) for _ in range(300)]
    return [told(scene, rng) for scene in scenes for told in (caption_en, caption_zh)]


@pytest.fixture(scope="module")
def tokenizer(texts):
    return fit_tokenizer(texts, vocab_size=700)


@pytest.fixture(scope="module")
def folder(tokenizer, tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("scorer")
    save_dual_encoder(build_dual_encoder(tokenizer.get_vocab_size()), tokenizer, path)
    return path


def test_text_survives_the_tokenizer(tokenizer):
    for text in ("a red ball, left of a blue star", "一个红色的球在蓝色的星星左边", "naïve 猫 & 🐟 7"):
        assert tokenizer.decode(tokenizer.encode(text).ids, skip_special_tokens=True) == text


def test_chinese_characters_stay_apart(tokenizer):
    for token in tokenizer.get_vocab():
        text = tokenizer.decode([tokenizer.token_to_id(token)])
        assert len(re.findall(CHINESE_CHARACTER, text)) <= 1


def test_end_is_the_highest_id_and_survives_a_cut(tokenizer):
    end = tokenizer.token_to_id("<end>")
    assert end == tokenizer.get_vocab_size() - 1
    ids = tokenizer.encode("red ball " * 60).ids
    assert len(ids) == CONTEXT_LENGTH
    assert ids[-1] == end
    assert tokenizer.token_to_id("<pad>") == 0


def test_stock_open_clip_loads_the_folder_and_agrees(folder, tokenizer, texts):
    from curation.torchvision_ops import declare_missing_ops

    declare_missing_ops()
    import open_clip

    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    stock_tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
    assert type(model).__name__ == "CustomTextCLIP"
    model.eval()
    ids = stock_tokenizer([text.upper() for text in texts[:8]])
    assert ids.shape == (8, CONTEXT_LENGTH)
    with torch.no_grad():
        stock = model.encode_text(ids, normalize=True)
        short = encode_texts(model, tokenizer, texts[:8])
        wide = preprocess(Image.new("RGB", (400, 100), (255, 0, 0)))
        image = model.encode_image(wide[None])
    assert torch.allclose(stock, short, atol=1e-5)
    assert wide.shape == (3, IMAGE_SIDE_PX, IMAGE_SIDE_PX)
    assert image.shape == (1, EMBED_DIM)


def test_the_folder_is_small_and_half_precision(folder):
    weights = load_file(folder / "open_clip_model.safetensors")
    assert {value.dtype for value in weights.values() if value.is_floating_point()} == {torch.float16}
    sample_size = sum(value.numel() * 2 for name, value in weights.items() if name != "text.token_embedding.weight")
    assert sample_size + 5600 * 192 * 2 < 12e6
    assert json.loads((folder / "open_clip_config.json").read_text())["model_cfg"]["embed_dim"] == EMBED_DIM
