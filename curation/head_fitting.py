"""Fitting the two linear heads on frozen embeddings: cartoon or photo, and technical quality from damaged pairs."""

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


def fit_cartoon_head(cartoons: Matrix, others: Matrix, *, strength: float = 30.0) -> FittedHead:
    """A logistic head whose value is the logit of 'cartoon'; both classes weigh the same however many rows they have.

    `cartoons` and `others` are L2-normalised embeddings (N, E); `strength` is the inverse of the regularisation.
    """
    _require_rows("cartoons", cartoons)
    _require_rows("others", others)
    rows = np.concatenate([cartoons, others])
    labels = np.concatenate([np.ones(len(cartoons)), np.zeros(len(others))])
    model = LogisticRegression(C=strength, class_weight="balanced", max_iter=2000).fit(rows, labels)
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
