"""Splits that hold together what belongs together, and a fit whose held-out values come from heads that did not see them."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from curation.fingerprint import colour_layout, perceptual_hash, sha256_hex
from curation.style_probe import ProbeSettings, assign_folds, fit_probe, units_of


def embeddings_of(seed, num, width=16, distance=0.5):
    """Unit rows of two classes whose means differ by `distance` along one axis, and the truth."""
    rng = np.random.default_rng(seed)
    truth = rng.random(num) < 0.3
    rows = rng.normal(size=(num, width)) * 0.3
    rows[:, 0] += distance * (truth * 2 - 1)
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32), truth


def names_of(num):
    return [sha256_hex(str(number).encode()) for number in range(num)]


def test_near_pictures_and_groups_are_one_unit(make_picture):
    pictures = [make_picture(seed) for seed in range(6)]
    pictures += [pictures[0].resize((70, 52)), pictures[1].point(lambda level: min(255, level + 2))]
    looks, colours = [perceptual_hash(one) for one in pictures], [colour_layout(one) for one in pictures]
    units = units_of([None] * 8, looks, colours)
    assert units[6] == units[0] and units[7] == units[1] and len(set(units.tolist())) == 6
    grouped = units_of([None, None, "film", "film", None, None, None, "film"], looks, colours)
    assert grouped[1] == grouped[2] == grouped[3] == grouped[7] and len(set(grouped.tolist())) == 4


def test_folds_are_even_whole_and_decided_by_content():
    rng = np.random.default_rng(0)
    units, truth, names = np.sort(rng.integers(0, 150, 600)), rng.random(600) < 0.2, names_of(600)
    units = np.unique(units, return_inverse=True)[1]
    folds = assign_folds(units, truth, names, 5, 0)
    assert all(len(set(folds[units == unit].tolist())) == 1 for unit in set(units.tolist()))
    for of_class in (truth, ~truth):
        counts = np.bincount(folds[of_class], minlength=5)
        assert counts.max() - counts.min() <= 0.15 * counts.mean()
    order = rng.permutation(600)
    renumbered = np.unique(rng.permutation(units.max() + 1)[units[order]], return_inverse=True)[1]
    moved = assign_folds(renumbered, truth[order], [names[at] for at in order], 5, 0)
    assert np.array_equal(moved, folds[order])
    assert not np.array_equal(assign_folds(units, truth, names, 5, 1), folds)


def test_few_groups_make_fewer_folds_and_too_few_are_refused():
    truth = np.arange(400) < 200
    assert assign_folds(np.arange(400) // 50, truth, names_of(400), 5, 0).max() + 1 == 4
    with pytest.raises(ValueError, match=r"those of the positive label stand in 2 units .* at least 3 are needed"):
        assign_folds(np.arange(400) // 100, truth, names_of(400), 5, 0)
    positives, others = np.array([16, 8, 3, 23]), np.array([28, 1, 20, 0])
    units = np.repeat(np.arange(4), positives + others)
    mixed = np.concatenate([np.arange(one + other) < one for one, other in zip(positives, others, strict=True)])
    with pytest.raises(ValueError, match=r"the groups are so unequal"):
        assign_folds(units, mixed, names_of(len(units)), 5, 0)


def test_held_out_values_are_those_of_a_head_that_did_not_see_the_fold():
    rows, truth = embeddings_of(1, 600)
    folds = assign_folds(np.arange(600), truth, names_of(600), 5, 0)
    settings = ProbeSettings(strengths=(10.0,), balance=False)
    found = fit_probe(rows, truth, folds, settings)
    for fold in range(5):
        held = folds == fold
        alone = LogisticRegression(C=10.0, max_iter=3000, tol=1e-5).fit(rows[~held].astype(np.float64), truth[~held])
        np.testing.assert_allclose(found.logits[held], alone.decision_function(rows[held]), atol=2e-3)
    assert np.array_equal(found.scale_logits, found.logits)
    assert found.strengths_of_folds == (10.0,) * 5 and found.num_unconverged == 0


def test_noise_is_told_as_noise():
    """With more dimensions than help, a fit on all pictures would separate them; the held-out values must not."""
    rng = np.random.default_rng(2)
    rows = rng.normal(size=(200, 128)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    truth = np.arange(200) % 2 == 0
    folds = assign_folds(np.arange(200), truth, names_of(200), 5, 0)
    found = fit_probe(rows, truth, folds, ProbeSettings())
    from curation.calibration import area_under_curve

    assert 0.38 < area_under_curve(found.logits, truth) < 0.62
    assert found.strength == 0.1, "the strongest regularisation loses least on noise"


def test_regularisation_is_chosen_by_held_out_loss_and_balance_moves_the_offset():
    rows, truth = embeddings_of(3, 800, distance=0.6)
    folds = assign_folds(np.arange(800), truth, names_of(800), 5, 0)
    found = fit_probe(rows, truth, folds, ProbeSettings())
    assert found.strength == min(found.loss_of_strength, key=found.loss_of_strength.get) > 0.1
    even, plain = (fit_probe(rows, truth, folds, ProbeSettings(balance=balance)) for balance in (True, False))
    assert even.logits.mean() > plain.logits.mean()
    same = fit_probe(rows, truth, folds, ProbeSettings())
    assert same.head.weight.tobytes() == found.head.weight.tobytes() and np.array_equal(same.logits, found.logits)
