import numpy as np
import pytest

from curation.head_fitting import fit_cartoon_head, fit_ranking_head


def _unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def test_the_cartoon_head_separates_and_ignores_class_sizes():
    rng = np.random.default_rng(0)
    direction = rng.normal(size=32)
    cartoons = _unit(rng.normal(size=(40, 32)) + 1.5 * direction)
    others = _unit(rng.normal(size=(900, 32)) - 1.5 * direction)
    head = fit_cartoon_head([cartoons], [others[:300], others[300:]])
    assert head.weight.shape == (1, 32)
    assert (head(cartoons) > 0).mean() > 0.95
    assert (head(others) < 0).mean() > 0.95


def test_the_ranking_head_ranks_unseen_pairs_on_its_scale():
    rng = np.random.default_rng(1)
    clean = rng.normal(size=(600, 32))
    harm = 0.8 * rng.normal(size=32)
    better, worse = _unit(clean), _unit(clean + harm * rng.uniform(0.5, 1.5, (600, 1)))
    head = fit_ranking_head(better[:400], worse[:400])
    assert (head(better[400:]) > head(worse[400:])).mean() > 0.95
    assert 1 < np.percentile(head(worse), 5) < 3
    assert 8 < np.percentile(head(better), 95) < 10


def test_unusable_rows_are_refused():
    rows = np.zeros((3, 4), np.float32)
    with pytest.raises(ValueError, match="worse"):
        fit_ranking_head(rows, rows[:2])
    with pytest.raises(ValueError, match="cartoons"):
        fit_cartoon_head([rows[:1]], [rows])
