from pathlib import Path

import numpy as np
import pytest

from pangu.evaluation.features import (
    CallableFeatures,
    ExtractorCard,
    ImageFeatures,
    concatenate_features,
    resize_antialiased,
)
from pangu.evaluation.inception_features import InceptionFeatures
from pangu.evaluation.mobilenet_features import MobileNetFeatures
from pangu.evaluation.random_features import RandomFeatures


def pictures(count: int, *, seed: int = 0, tint: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    sizes = [(64, 64), (48, 80), (96, 40)]
    return [
        np.clip(rng.integers(0, 200, (*sizes[row % 3], 3)) + np.array([tint, 0, 0]), 0, 255).astype(np.uint8)
        for row in range(count)
    ]


def test_the_untrained_network_is_the_same_everywhere_and_tells_sets_apart():
    from pangu.evaluation.kernel import kernel_interval

    first, second = RandomFeatures(), RandomFeatures(batch_size=3)
    assert first.card == second.card and first.card.fingerprint != RandomFeatures(seed=1).card.fingerprint
    images = pictures(10)
    np.testing.assert_allclose(first.extract(images).features, second.extract(images).features, atol=1e-5)
    plain, again = first.extract(pictures(60)), first.extract(pictures(60, seed=1))
    tinted = first.extract(pictures(60, seed=2, tint=55))
    same = kernel_interval(plain.features, again.features)
    other = kernel_interval(plain.features, tinted.features)
    assert other.low > same.high


def test_order_and_empty_input_are_kept():
    extractor = RandomFeatures()
    images = pictures(7)
    np.testing.assert_allclose(
        extractor.extract(images[::-1]).features[::-1], extractor.extract(images).features, atol=1e-5
    )
    assert extractor.extract([]).features.shape == (0, 256)


def test_parts_join_in_order_and_only_of_one_network():
    extractor = RandomFeatures()
    images = pictures(7)
    joined = concatenate_features([extractor.extract(images[:3]), extractor.extract(images[3:])])
    np.testing.assert_allclose(joined.features, extractor.extract(images).features, atol=1e-5)
    with pytest.raises(ValueError, match="accepted: one network"):
        concatenate_features([extractor.extract(images), RandomFeatures(seed=1).extract(images)])


def test_shrinking_is_antialiased():
    # A one-pixel checkerboard has a mean of grey; without antialiasing every second column would survive.
    board = np.zeros((128, 128, 3), dtype=np.uint8)
    board[::2, ::2] = board[1::2, 1::2] = 255
    shrunk = resize_antialiased(board, 16)
    assert shrunk.shape == (3, 16, 16) and abs(shrunk[:, 2:-2, 2:-2] - 127.5).max() < 6.0


def test_a_handed_over_model_must_state_its_other_uses():
    with pytest.raises(TypeError, match="other_uses"):
        CallableFeatures(lambda images: np.zeros((1, 4)), name="a", fingerprint="b", num_dims=4, resize_mode="c")
    extractor = CallableFeatures(
        lambda images: np.stack([image.mean(axis=(0, 1)) for image in images]),
        name="mean-colour",
        fingerprint="0" * 12,
        num_dims=3,
        resize_mode="none",
        other_uses=("filtered the training data",),
        logits=lambda features: features @ np.eye(3),
    )
    result = extractor.extract(pictures(4))
    assert result.features.shape == (4, 3) and result.logits.shape == (4, 3)
    assert result.card.other_uses == ("filtered the training data",)


def test_wrong_images_and_features_are_refused_by_name():
    with pytest.raises(ValueError, match=r"images\[1\]: received shape \(4, 4\) of uint8"):
        RandomFeatures().extract([pictures(1)[0], np.zeros((4, 4), dtype=np.uint8)])
    card = ExtractorCard("a", "b", num_dims=3, resize_mode="c")
    with pytest.raises(ValueError, match="NaN"):
        ImageFeatures(card, np.full((2, 3), np.nan, dtype=np.float32))


def test_missing_weights_name_what_is_accepted(tmp_path: Path):
    with pytest.raises(ValueError, match="weights-inception-2015-12-05"):
        InceptionFeatures(tmp_path / "nowhere.pth")
    with pytest.raises(ValueError, match="MobileNetV2"):
        MobileNetFeatures(tmp_path / "nowhere.safetensors")


def inception_state() -> dict:
    from pangu.torchvision_ops import declare_missing_ops

    declare_missing_ops()
    import torch
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    # Building the class needs weights; its shape alone needs none of its own constructor's work.
    shape_only = FeatureExtractorInceptionV3.__new__(FeatureExtractorInceptionV3)
    captured: dict = {}

    def capture(self, state, *_, **__):
        captured.update(self.state_dict())

    original = FeatureExtractorInceptionV3.load_state_dict
    FeatureExtractorInceptionV3.load_state_dict = capture
    try:
        import torch_fidelity.feature_extractor_inceptionv3 as module

        read = module.torch.load
        module.torch.load = lambda *_, **__: {}
        try:
            torch.manual_seed(0)
            shape_only.__init__("shape", ["2048"], feature_extractor_weights_path="unread")
        finally:
            module.torch.load = read
    finally:
        FeatureExtractorInceptionV3.load_state_dict = original
    return captured


def test_inception_loads_plain_tensors_only(tmp_path: Path):
    import torch
    from safetensors.torch import save_file

    state = {name: tensor.clone() for name, tensor in inception_state().items()}
    save_file(state, tmp_path / "inception.safetensors")
    torch.save(state, tmp_path / "inception.pth")
    extractor = InceptionFeatures(tmp_path / "inception.safetensors", batch_size=4)
    result = extractor.extract(pictures(4))
    assert result.features.shape == (4, 2048) and result.logits.shape == (4, 1008)
    assert extractor.card.published
    assert InceptionFeatures(tmp_path / "inception.pth").card == extractor.card
    del state["fc.weight"]
    save_file(state, tmp_path / "broken.safetensors")
    with pytest.raises(ValueError, match=r"weights: received .*broken.safetensors"):
        InceptionFeatures(tmp_path / "broken.safetensors")


def test_folded_inception_gives_torch_fidelitys_features_on_mixed_sizes(tmp_path: Path):
    import torch
    from safetensors.torch import save_file
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    state = {name: tensor.clone() for name, tensor in inception_state().items()}
    rng = torch.Generator().manual_seed(1)
    for name, tensor in state.items():  # batch norms that do something
        if name.endswith(("running_mean", "bn.bias")):
            tensor.normal_(0.0, 0.1, generator=rng)
        elif name.endswith(("running_var", "bn.weight")):
            tensor.uniform_(0.5, 1.5, generator=rng)
    torch.save(state, tmp_path / "inception.pth")
    save_file(state, tmp_path / "inception.safetensors")
    peer = FeatureExtractorInceptionV3(
        "peer", ["2048", "logits_unbiased"], feature_extractor_weights_path=str(tmp_path / "inception.pth")
    )
    images = pictures(3)
    ours = InceptionFeatures(tmp_path / "inception.safetensors", batch_size=2).extract(images)
    for row, image in enumerate(images):
        with torch.inference_mode():
            features, logits = peer(torch.from_numpy(image).permute(2, 0, 1)[None])
        scale = float(features.abs().max())
        np.testing.assert_allclose(ours.features[row], features[0], atol=2e-5 * scale)
        np.testing.assert_allclose(ours.logits[row], logits[0], atol=1e-4 * float(logits.abs().max()))


class Canary:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


@pytest.mark.reliability(18)
def test_weights_that_carry_code_run_nothing(tmp_path: Path):
    import pickle

    import torch

    canary = tmp_path / "canary"
    torch.save({"fc.weight": Canary(canary)}, tmp_path / "hostile.pth")
    with pytest.raises(pickle.UnpicklingError):
        InceptionFeatures(tmp_path / "hostile.pth")
    assert not canary.exists()


SHARED = Path(__file__).parents[4] / "shared" / "data"


@pytest.mark.shared_data
@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the shared data folder")
def test_mobilenet_recognises_photographs():
    from skimage import data

    weights = SHARED / "weights" / "coral-mobilenet"
    extractor = MobileNetFeatures(weights / "mobilenet_v2_1.0_224_int8.safetensors")
    result = extractor.extract([data.chelsea(), data.coffee()[:, 100:500]])
    labels = (weights / "imagenet_labels.txt").read_text().splitlines()
    names = [labels[row].lower() for row in result.logits.argmax(axis=1)]
    assert "cat" in names[0] or "tabby" in names[0], names
    assert any(word in names[1] for word in ("espresso", "cup")), names
