import pytest
import torch
from torch.nn import functional as F

from curation.dual_encoder_losses import drawn_loss, named_loss, ranking_loss, same_concept_loss

SCALE = torch.tensor(20.0)


def directions(count, seed=0):
    torch.manual_seed(seed)
    return F.normalize(torch.randn(count, 256), dim=-1)


def test_each_loss_falls_where_pictures_lie_at_their_own_captions():
    captions, misses = directions(6), directions(12, seed=1).reshape(6, 2, 256)
    others = captions.roll(1, 0)
    assert named_loss(captions, captions, torch.eye(6), SCALE) < named_loss(others, captions, torch.eye(6), SCALE)
    assert drawn_loss(captions, captions, misses, SCALE) < drawn_loss(misses[:, 0], captions, misses, SCALE)
    assert same_concept_loss(captions, captions, SCALE) < same_concept_loss(captions, others, SCALE)


def test_one_concept_alone_has_nothing_to_be_told_from():
    one = directions(1).requires_grad_()
    loss = same_concept_loss(one, directions(1, seed=2), SCALE)
    assert loss.item() == 0
    loss.backward()
    assert torch.equal(one.grad, torch.zeros(1, 256))


def test_ranking_compares_pictures_with_each_other_where_a_softmax_does_not():
    """Each picture prefers its own caption, but one's other cosine is above another's own: only a ranking of all sees it."""
    centres = torch.eye(4)[:2]
    apart = torch.tensor([[0.9, 0.1, 0.0, 0.42], [0.1, 0.9, 0.0, 0.42]])
    mixed = torch.tensor([[0.9, 0.7, 0.0, 0.0], [0.1, 0.5, 0.0, 0.0]])
    assert ranking_loss(apart, centres) < 0.01 < 0.5 < ranking_loss(mixed, centres)
    assert ranking_loss(mixed[:1], centres[:1]) == 0


def test_equal_captions_are_not_ranked_below_each_other():
    centres = F.normalize(torch.tensor([[1.0, 0.0, 0.0], [1.0, 0.01, 0.0], [0.0, 0.0, 1.0]]), dim=-1)
    found = torch.tensor([[0.5, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.9]])
    assert ranking_loss(found, centres).item() == pytest.approx(0.0015, abs=0.001), (
        "twins' cosine of 1.0 is not held against 0.5"
    )
