"""Fitting the two linear heads on frozen embeddings: cartoon or photo, and technical quality from damaged pairs."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression

Matrix = npt.NDArray[np.float32]


@dataclass(frozen=True)
class FittedHead:
    """One linear layer of width 1: weight (1, E) and bias (1,) float32."""

    weight: Matrix
    bias: npt.NDArray[np.float32]

    def __call__(self, embeddings: Matrix) -> npt.NDArray[np.float32]:
        """(N,) values of embeddings (N, E)."""
        values: npt.NDArray[np.float32] = embeddings @ self.weight[0] + self.bias[0]
        return values


def fit_cartoon_head(cartoons: Sequence[Matrix], others: Sequence[Matrix], *, strength: float = 30.0) -> FittedHead:
    """A logistic head whose value is the logit of 'cartoon', from several sources of each class.

    Every source is L2-normalised embeddings (N, E) and weighs the same within its class, and both classes weigh the
    same: else the largest source decides alone, and drawings nobody collected many of fall on the wrong side.
    `strength` is the inverse of the regularisation.
    """
    weights, labels = [], []
    for label, sources in ((1.0, cartoons), (0.0, others)):
        for rows in sources:
            _require_rows("cartoons" if label else "others", rows)
            labels.append(np.full(len(rows), label))
            weights.append(np.full(len(rows), 1.0 / len(rows) / len(sources)))
    rows = np.concatenate([*cartoons, *others])
    weight = np.concatenate(weights) * len(rows) / 2
    model = LogisticRegression(C=strength, max_iter=3000)
    model.fit(rows, np.concatenate(labels), sample_weight=weight)
    return FittedHead(model.coef_.astype(np.float32), model.intercept_.astype(np.float32))


def fit_ranking_head(
    better: Matrix, worse: Matrix, *, strength: float = 10.0, low: float = 1.0, high: float = 10.0
) -> FittedHead:
    """A linear head that ranks each row of `better` above the same row of `worse`, on about the scale `low`..`high`.

    Fitted as a logistic regression on differences, so only pairs of the same picture are ever compared. The scale is
    set so that the 5th percentile of `worse` is `low` + 1 and the 95th of `better` is `high` - 1.
    """
    _require_rows("better", better)
    if better.shape != worse.shape:
        raise ValueError(f"worse: shape {worse.shape} given, accepted the shape of better, {better.shape}")
    differences = np.concatenate([better - worse, worse - better])
    labels = np.concatenate([np.ones(len(better)), np.zeros(len(worse))])
    model = LogisticRegression(C=strength, fit_intercept=False, max_iter=2000).fit(differences, labels)
    direction = model.coef_.astype(np.float64)
    bottom = np.percentile(worse @ direction[0], 5)
    top = np.percentile(better @ direction[0], 95)
    if top <= bottom:
        raise ValueError("better, worse: no direction ranks the better rows above the worse ones")
    scale = (high - low - 2) / (top - bottom)
    bias = np.array([low + 1 - bottom * scale])
    return FittedHead((direction * scale).astype(np.float32), bias.astype(np.float32))


def _require_rows(field: str, rows: Matrix) -> None:
    if rows.ndim != 2 or len(rows) < 2:
        raise ValueError(f"{field}: shape {rows.shape} given, accepted (N, E) with N of at least 2")
