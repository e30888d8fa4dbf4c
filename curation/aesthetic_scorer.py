"""How much people like a picture, from its CLIP embedding."""

from pathlib import Path

from curation.linear_head import LinearHead, Matrix, Vector, load_head


class AestheticScorer:
    """A linear or MLP head of the public kinds; scores are roughly 1 to 10, higher is better liked."""

    def __init__(self, head: LinearHead) -> None:
        """`head` maps an embedding to the score."""
        self._head = head
        self.version = head.version

    @classmethod
    def load(cls, path: Path, clip_fingerprint: str) -> "AestheticScorer":
        """From a safetensors file that names the CLIP with this fingerprint."""
        return cls(load_head(path, clip_fingerprint))

    def __call__(self, embeddings: Matrix) -> Vector:
        """embeddings: (N, E) float32, L2-normalised. (N,) float32 scores."""
        return self._head(embeddings)
