import numpy as np
import pytest

from pangu.evaluation import neighbours
from pangu.evaluation.neighbours import manifold_shares, nearest_by_cosine
from pangu.torchvision_ops import declare_missing_ops


def draw(count: int, *, shift: float = 0.0, spread: float = 1.0, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal((count, 10)) * spread + shift).astype(np.float32)


def test_precision_and_recall_equal_torch_fidelity(monkeypatch):
    declare_missing_ops()
    import torch
    from torch_fidelity.metric_prc import calculate_precision_recall_full

    generated, reference = draw(300, shift=0.5, spread=0.8), draw(280, seed=1)
    monkeypatch.setattr(neighbours, "_ROWS_AT_ONCE", 64)
    ours = manifold_shares(generated, reference)
    theirs = calculate_precision_recall_full(torch.from_numpy(generated).double(), torch.from_numpy(reference).double())
    assert (ours.precision.mean(), ours.recall.mean()) == pytest.approx(theirs, abs=1e-6)


def test_density_and_coverage_counted_one_by_one():
    generated, reference = draw(40, shift=0.4), draw(50, seed=1)
    radii = [sorted(np.linalg.norm(reference - point, axis=1))[5] for point in reference]
    inside = np.array([[np.linalg.norm(x - y) <= r for y, r in zip(reference, radii, strict=True)] for x in generated])
    ours = manifold_shares(generated, reference)
    assert ours.density.mean() == pytest.approx(inside.sum() / (5 * 40))
    assert ours.coverage.mean() == pytest.approx(inside.any(axis=0).mean())


def test_a_collapsed_set_is_precise_and_covers_little():
    ours = manifold_shares(draw(200, spread=0.05), draw(200, seed=1))
    assert ours.precision.mean() == 1.0 and ours.recall.mean() < 0.05 and ours.coverage.mean() < 0.9


def test_too_few_images_have_no_manifold():
    with pytest.raises(ValueError, match="features: received 5 and 20 rows, accepted: 6 or more"):
        manifold_shares(draw(5), draw(20))


def test_the_nearest_by_cosine_is_the_nearest_of_all_pairs(monkeypatch):
    monkeypatch.setattr(neighbours, "_ROWS_AT_ONCE", 7)
    generated, reference = draw(30, shift=0.3), draw(50, seed=1)
    distances, rows = nearest_by_cosine(generated, reference)
    for index, point in enumerate(generated.astype(np.float64)):
        others = reference.astype(np.float64)
        expected = 1 - others @ point / np.linalg.norm(others, axis=1) / np.linalg.norm(point)
        assert rows[index] == expected.argmin() and distances[index] == pytest.approx(expected.min())
    assert nearest_by_cosine(reference[:3] * 5, reference)[1].tolist() == [0, 1, 2]
    assert nearest_by_cosine(np.zeros((1, 10)), reference)[0] == 1.0
    with pytest.raises(ValueError, match="features: received shapes"):
        nearest_by_cosine(generated, reference[:0])
