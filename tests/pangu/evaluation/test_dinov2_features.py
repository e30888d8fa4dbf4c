import dataclasses
from pathlib import Path

import numpy as np
import pytest

from pangu.evaluation.dinov2_features import Dinov2Features
from pangu.torchvision_ops import declare_missing_ops


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    declare_missing_ops()
    import torch
    from transformers import Dinov2Config, Dinov2Model

    torch.manual_seed(0)
    config = Dinov2Config(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=224, patch_size=56)
    path = tmp_path_factory.mktemp("dinov2")
    Dinov2Model(config).save_pretrained(path)
    return path


def pictures(count: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 255, (40 + 8 * row, 64, 3), dtype=np.uint8) for row in range(count)]


def test_a_folder_gives_the_class_token_of_every_picture_whatever_the_cut(folder: Path):
    extractor = Dinov2Features(folder, batch_size=4)
    whole = extractor.extract(pictures(5))
    assert whole.features.shape == (5, 32) and whole.card.name == "dinov2-32" and not whole.card.published
    alone = np.concatenate([extractor.extract([picture]).features for picture in pictures(5)])
    np.testing.assert_array_equal(alone, whole.features)
    assert dataclasses.replace(whole.card) == Dinov2Features(folder).card


def test_it_is_the_models_own_pooled_token(folder: Path):
    import torch
    from transformers import Dinov2Model

    from pangu.evaluation.features import resize_antialiased

    picture = pictures(1)[0]
    pixels = resize_antialiased(picture, 224).transpose(1, 2, 0) / 255.0
    pixels = (pixels - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    model = Dinov2Model.from_pretrained(folder)
    with torch.inference_mode():
        tokens = model(torch.from_numpy(pixels.transpose(2, 0, 1)[None].astype(np.float32))).last_hidden_state
    np.testing.assert_allclose(Dinov2Features(folder).extract([picture]).features[0], tokens[0, 0], atol=1e-5)


def test_another_model_and_no_model_are_refused(folder: Path, tmp_path: Path):
    with pytest.raises(ValueError, match=r"folder: received .*accepted: one with DINOv2's config.json"):
        Dinov2Features(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    (tmp_path / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
    with pytest.raises(ValueError, match="a model of type 'bert'"):
        Dinov2Features(tmp_path)
