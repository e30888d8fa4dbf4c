import numpy as np
import pytest
import torch

from curation.aesthetic_scorer import AestheticScorer
from curation.cartoon_classifier import CartoonClassifier
from curation.convert_weights import convert_weights
from curation.errors import ScorerError
from curation.linear_head import LinearHead, bind_head, load_head, write_head

CLIP = "c" * 64


def layer(generator, width_out: int, width_in: int):
    return generator.normal(size=(width_out, width_in)).astype(np.float32), generator.normal(size=width_out).astype(
        np.float32
    )


def test_stack_equals_layer_by_layer() -> None:
    generator = np.random.default_rng(0)
    layers = [layer(generator, 7, 12), layer(generator, 3, 7), layer(generator, 1, 3)]
    embeddings = generator.normal(size=(5, 12)).astype(np.float32)
    values = torch.from_numpy(embeddings)
    for weight, bias in layers:
        values = torch.nn.functional.linear(values, torch.from_numpy(weight), torch.from_numpy(bias))
    head = LinearHead(layers)
    np.testing.assert_allclose(head(embeddings), values[:, 0].numpy(), rtol=1e-4)
    assert np.array_equal(head(embeddings)[2:3], head(embeddings[2:3]))


def test_a_head_belongs_to_one_clip(tmp_path) -> None:
    generator = np.random.default_rng(0)
    path = tmp_path / "head.safetensors"
    write_head(path, [layer(generator, 1, 12)], CLIP, "v1")
    head = AestheticScorer.load(path, CLIP)
    assert head.version == "v1"
    with pytest.raises(ScorerError, match=r"belongs to CLIP cccc.*the CLIP in use is dddd"):
        AestheticScorer.load(path, "d" * 64)
    with pytest.raises(ScorerError, match=r"must be \(N, 12\); got \(3, 11\)"):
        head(np.zeros((3, 11), np.float32))


def test_unbound_pickled_and_broken_heads_are_refused(tmp_path) -> None:
    from safetensors.numpy import save_file

    save_file({"weight": np.ones((1, 4), np.float32), "bias": np.zeros(1, np.float32)}, tmp_path / "public.safetensors")
    with pytest.raises(ScorerError, match="bind_head"):
        load_head(tmp_path / "public.safetensors", CLIP)
    bind_head(tmp_path / "public.safetensors", tmp_path / "bound.safetensors", CLIP, "public-1")
    assert load_head(tmp_path / "bound.safetensors", CLIP)(np.ones((1, 4), np.float32)).tolist() == [4.0]
    with pytest.raises(ScorerError, match=r"python -m curation.convert_weights .*head.pth .*head.safetensors"):
        load_head(tmp_path / "head.pth", CLIP)
    with pytest.raises(ScorerError, match="cannot be read"):
        load_head(tmp_path / "missing.safetensors", CLIP)
    (tmp_path / "torn.safetensors").write_bytes((tmp_path / "bound.safetensors").read_bytes()[:50])
    with pytest.raises(ScorerError, match="cannot be read"):
        load_head(tmp_path / "torn.safetensors", CLIP)
    save_file({"scale": np.ones(1, np.float32)}, tmp_path / "other.safetensors")
    with pytest.raises(ScorerError, match="found scale"):
        load_head(tmp_path / "other.safetensors", CLIP)
    for layers in ([(np.ones((2, 4)), np.ones(2))], [(np.ones((2, 4)), np.ones(2)), (np.ones((1, 3)), np.ones(1))]):
        with pytest.raises(ScorerError, match="head"):
            LinearHead(layers)


@pytest.mark.reliability(18)
def test_conversion_runs_no_code_from_a_pickle(tmp_path) -> None:
    import pickle

    canary = tmp_path / "canary"

    class Attack:
        def __reduce__(self):
            return (open, (str(canary), "w"))

    torch.save({"weight": Attack()}, tmp_path / "bad.pth")
    with pytest.raises(pickle.UnpicklingError):
        convert_weights(tmp_path / "bad.pth", tmp_path / "out.safetensors")
    assert not canary.exists()
    torch.save({"state_dict": {"weight": torch.ones(1, 3), "bias": torch.ones(1)}}, tmp_path / "good.pth")
    assert convert_weights(tmp_path / "good.pth", tmp_path / "out.safetensors") == 2


@pytest.mark.shared_data
@pytest.mark.parametrize(
    ("head", "vectors", "first", "last"),
    [
        ("aesthetic-laion-linear/sa_0_4_vit_b_32_linear", "vit_b_32", -1.47, 11.01),
        ("aesthetic-laion-linear/sa_0_4_vit_l_14_linear", "vit_l_14", -2.46, 11.30),
        ("aesthetic-improved-mlp/sac+logos+ava1-l14-linearMSE", "vit_l_14", 1.66, 5.75),
    ],
)
def test_public_heads_rank_the_rating_vectors(shared_data, tmp_path, head, vectors, first, last) -> None:
    weights = shared_data / "weights"
    folder = weights / "aesthetic-laion-linear" / f"{vectors}_embeddings"
    embeddings = np.stack([np.load(folder / f"rating{rating}.npy").reshape(-1) for rating in range(10)])
    bind_head(weights / f"{head}.safetensors", tmp_path / "head.safetensors", CLIP)
    scores = AestheticScorer.load(tmp_path / "head.safetensors", CLIP)(embeddings.astype(np.float32))
    assert (np.diff(scores) > 0).all()
    assert (scores[0], scores[-1]) == (pytest.approx(first, abs=0.01), pytest.approx(last, abs=0.01))


def test_cartoon_probability_and_abstention() -> None:
    head = LinearHead([(np.array([[1.0, 0.0]], np.float32), np.zeros(1, np.float32))])
    classifier = CartoonClassifier(head, low=0.2, high=0.8)
    logits = np.array([[-1000.0, 0], [0, 0], [1000.0, 0], [np.log(4), 0]], np.float32)
    probabilities = classifier(logits)
    np.testing.assert_allclose(probabilities, [0.0, 0.5, 1.0, 0.8], atol=1e-6)
    assert [classifier.decide(p) for p in (0.2, 0.21, 0.79, 0.8)] == [False, None, None, True]
    with pytest.raises(ValueError, match=r"got \[0.9, 0.1\]"):
        CartoonClassifier(head, 0.9, 0.1)
