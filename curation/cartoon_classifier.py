"""Whether a picture is a cartoon, from its CLIP embedding, or whether that is better left open."""

from pathlib import Path

import numpy as np

from curation.errors import ScorerError
from curation.linear_head import LinearHead, Matrix, Vector, load_head, read_head

LOW_FIELD, HIGH_FIELD = "abstain_low", "abstain_high"
"""Names of the metadata fields that hold a head's own band."""


class CartoonClassifier:
    """A logistic head; between `low` and `high` it abstains."""

    def __init__(self, head: LinearHead, low: float = 0.3, high: float = 0.7) -> None:
        """`head` maps an embedding to the logit of 'cartoon'; 0 <= low <= high <= 1."""
        if not 0.0 <= low <= high <= 1.0:
            raise ValueError(f"the abstain band must have 0 <= low <= high <= 1; got [{low}, {high}]")
        self._head = head
        self.low, self.high = low, high
        self.version = head.version

    @classmethod
    def load(
        cls, path: Path, clip_fingerprint: str, low: float | None = None, high: float | None = None
    ) -> "CartoonClassifier":
        """From a safetensors file that names the CLIP with this fingerprint.

        The band is the one given, else the one in the file's metadata, else 0.3 to 0.7.
        """
        head = load_head(path, clip_fingerprint)
        metadata = read_head(path)[1]
        found = []
        for name, given, default in ((LOW_FIELD, low, 0.3), (HIGH_FIELD, high, 0.7)):
            told = metadata.get(name, str(default)) if given is None else given
            try:
                found.append(float(told))
            except ValueError:
                raise ScorerError(f"head {path}: metadata {name} is {told!r}, accepted is a number in [0, 1]") from None
        return cls(head, *found)

    def __call__(self, embeddings: Matrix) -> Vector:
        """embeddings: (N, E) float32, L2-normalised. (N,) float32 probabilities of 'cartoon'."""
        logits = self._head(embeddings).astype(np.float64)
        return (1.0 / (1.0 + np.exp(-np.clip(logits, -500, 500)))).astype(np.float32)

    def decide(self, probability: float) -> bool | None:
        """True: cartoon, False: none, None: abstained."""
        if probability >= self.high:
            return True
        return False if probability <= self.low else None
