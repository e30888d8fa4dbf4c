"""What the image tower's embeddings of named and of drawn pictures should be near to, and far from."""

import torch
from torch.nn import functional as F

SAME_CENTRE_COSINE = 0.95
RANKING_SCALE = 12.0


def named_loss(found: torch.Tensor, bank: torch.Tensor, wanted: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """Cross-entropy over the caption bank, over the batch's own pictures, and the cosine to the captions' centre."""
    logits = scale * found @ bank.T
    towards_text = -(wanted * F.log_softmax(logits, dim=1)).sum(1).mean()
    centre = F.normalize(wanted @ bank, dim=-1)
    towards_image = F.cross_entropy(scale * centre @ found.T, torch.arange(len(found)))
    return towards_text + 0.3 * towards_image + 0.5 * (1 - (found * centre).sum(1).mean())


def ranking_loss(found: torch.Tensor, centres: torch.Tensor) -> torch.Tensor:
    """Cosines of pictures (B, 256) to their own captions' centres (B, 256), each above every cosine to another's centre.

    A smooth form of one less the area under the curve over all cosines at once. A softmax compares within a picture
    or within a caption alone; a threshold, or a ranking of a whole set, compares across them. 0 of fewer than two.
    """
    cosines = found @ centres.T
    is_other = centres @ centres.T <= SAME_CENTRE_COSINE
    differences = cosines[is_other][None, :] - cosines.diagonal()[:, None]
    return F.softplus(RANKING_SCALE * differences).mean() if differences.numel() else found.sum() * 0


def drawn_loss(
    found: torch.Tensor,
    captions: torch.Tensor,
    misses: torch.Tensor,
    scale: torch.Tensor,
) -> torch.Tensor:
    """Own caption against own near misses and the other scenes' captions, both ways, and the cosine to it."""
    labels = torch.arange(len(found))
    among_batch = scale * found @ captions.T
    own_misses = scale * torch.einsum("bd,bkd->bk", found, misses)
    everything = torch.cat([among_batch, own_misses], dim=1)
    own = torch.cat([among_batch.diagonal()[:, None], own_misses], dim=1)
    loss = F.cross_entropy(everything, labels) + F.cross_entropy(own, torch.zeros_like(labels))
    loss = loss + 0.3 * F.cross_entropy(among_batch.T, labels)
    return loss + 0.5 * (1 - (found * captions).sum(1).mean())


def same_concept_loss(one: torch.Tensor, two: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """Each concept's picture in one art style (B, 256) against those of all in the other, both ways; 0 of fewer than two."""
    if len(one) < 2:
        return one.sum() * 0
    cosines, labels = scale * one @ two.T, torch.arange(len(one))
    return (F.cross_entropy(cosines, labels) + F.cross_entropy(cosines.T, labels)) / 2
