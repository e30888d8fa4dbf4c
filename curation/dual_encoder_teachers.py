"""What the image tower is taught of its views besides the teacher's features: a place among the captions, a garment's class.

Both are read from the teacher's features by small linear models fitted on the training pictures, so that they also speak of
views that no caption was written for (filtered photographs, mixtures, drawn screens).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from sklearn.linear_model import LogisticRegression
from tokenizers import Tokenizer
from torch import nn
from torch.nn import functional as F

from curation.dual_encoder import encode_texts
from curation.dual_encoder_data import Pair, clothing_prompts
from curation.dual_encoder_views import TaughtViews

NUM_FOLDS = 5


@dataclass(frozen=True)
class CaptionSpaceTeacher:
    """Where the captions of each view should lie: offsets (N, 256), normalised, from the captions' mean (256,).

    A ridge regression from the teacher's features to the captions of the training pictures, so that it also says something
    of filtered photographs and screens, which have none.
    """

    offsets: torch.Tensor
    mean: torch.Tensor

    def loss(self, rows: torch.Tensor, found: torch.Tensor) -> torch.Tensor:
        """One minus the mean cosine of embeddings (B, 256), less the mean, with the offsets of `rows`."""
        return 1 - F.cosine_similarity(found - self.mean, self.offsets[rows], dim=-1).mean()


def fit_caption_space(views: TaughtViews, centres: torch.Tensor, *, penalty: float = 0.3) -> CaptionSpaceTeacher:
    """The regression; centres (P, 256) are the normalised mean caption embeddings of the pairs that `views` were made of.

    Every pair weighs the same, however many views it has.
    """
    owned = views.owner >= 0
    owners = views.owner[owned]
    weight = 1.0 / torch.bincount(owners, minlength=len(centres))[owners].float()[:, None]
    wanted = centres[owners]
    mean = (wanted * weight).sum(0) / weight.sum()
    features = views.targets[owned]
    gram = features.T @ (weight * features) + penalty * torch.eye(features.shape[1])
    directions = torch.linalg.solve(gram, features.T @ (weight * (wanted - mean)))
    return CaptionSpaceTeacher(F.normalize(views.targets @ directions, dim=-1), mean)


@dataclass(frozen=True)
class ClassTeacher:
    """Classes of views: `classes` (N, K) rows that sum to one where `is_known` (N,); `of_pairs` (P, K) and `pair_is_known`.

    `prompts[language]` (K, 256) are the embeddings of the classes' prompts.
    """

    classes: torch.Tensor
    is_known: torch.Tensor
    of_pairs: torch.Tensor
    pair_is_known: torch.Tensor
    prompts: dict[str, torch.Tensor]

    def loss(self, wanted: torch.Tensor, found: torch.Tensor, language: str, scale: torch.Tensor) -> torch.Tensor:
        """Mean cross-entropy of embeddings (B, 256) against wanted classes (B, K) among the prompts; 0 of no picture."""
        if not len(found):
            return found.sum()
        logits = scale * found @ self.prompts[language].T
        return -(wanted * F.log_softmax(logits, dim=1)).sum(1).mean()


def fit_class_teacher(
    views: TaughtViews, labels: torch.Tensor, prompts: dict[str, torch.Tensor], *, strength: float = 1.0
) -> ClassTeacher:
    """Half the true class, half what a logistic regression on the teacher's features says of pairs that it never saw.

    labels (P,) int64: each pair's class, -1 for none. Each fifth of the pairs is judged by a regression on the others: one
    that had seen them would only repeat the true class.
    """
    num_classes = len(next(iter(prompts.values())))
    owner = views.owner
    label = torch.where(owner >= 0, labels[owner.clamp_min(0)], -1)
    is_known = label >= 0
    classes = F.one_hot(label.clamp_min(0), num_classes).float() * is_known[:, None]
    for fold in range(NUM_FOLDS):
        judged = is_known & (owner % NUM_FOLDS == fold)
        others = is_known & (owner % NUM_FOLDS != fold)
        present = torch.tensor(sorted(set(label[others].tolist())))
        if not judged.any() or len(present) < 2:
            continue
        model = LogisticRegression(C=strength, max_iter=400).fit(views.targets[others].numpy(), label[others].numpy())
        said = torch.from_numpy(model.predict_proba(views.targets[judged].numpy())).float()
        classes[judged] *= 0.5
        classes[judged.nonzero(), present[None]] += 0.5 * said
    of_pairs = torch.zeros(len(labels), num_classes).index_add_(0, owner[is_known], classes[is_known])
    of_pairs /= of_pairs.sum(1, keepdim=True).clamp_min(1e-6)
    return ClassTeacher(classes, is_known, of_pairs, of_pairs.sum(1) > 0, prompts)


def fit_clothing_teacher(
    model: nn.Module, tokenizer: Tokenizer, pairs: Sequence[Pair], views: TaughtViews
) -> ClassTeacher:
    """`fit_class_teacher` of the clothing photographs of `pairs`, whose views are given."""
    told = clothing_prompts()
    names = list(told["concept"])
    labels = [names.index(pair.concept) if pair.source == "photos_clothing" else -1 for pair in pairs]
    prompts = {language: encode_texts(model, tokenizer, told[language]) for language in ("en", "zh")}
    return fit_class_teacher(views, torch.tensor(labels), prompts)
