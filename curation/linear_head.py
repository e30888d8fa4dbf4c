"""Small heads on a CLIP embedding: stacks of linear layers, bound to the one CLIP they were fitted on.

A head fed with another tower's embeddings of equal width gives numbers and no error, so its file names the CLIP's
fingerprint in its safetensors metadata, and loading compares. The public heads name none: `bind_head` writes a copy
that does, once somebody who knows has said which CLIP it is.
"""

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from curation.errors import ScorerError

FINGERPRINT_FIELD = "clip_fingerprint"
"""Name of the metadata field that holds `ClipScorer.fingerprint`."""

Matrix = npt.NDArray[np.float32]
Vector = npt.NDArray[np.float32]


class LinearHead:
    """Linear layers with nothing between them, the last of width 1.

    Both public kinds are this: LAION's linear head (`weight`, `bias`) and the "improved" predictor
    (`layers.N.weight`, ...), whose dropouts do nothing at inference and which has no activation. The layers are
    multiplied out once, in float64.
    """

    def __init__(self, layers: list[tuple[Matrix, Vector]], version: str = "unnamed") -> None:
        """`layers` are (weight (out, in), bias (out,)) from input to output; `version` stands in the scores."""
        weight, bias = np.eye(layers[0][0].shape[1]), np.zeros(layers[0][0].shape[1])
        for layer_weight, layer_bias in layers:
            if layer_weight.shape[1] != weight.shape[0] or layer_bias.shape != (layer_weight.shape[0],):
                raise ScorerError(
                    f"head: a layer of {layer_weight.shape} does not follow one of width {weight.shape[0]}"
                )
            weight = layer_weight.astype(np.float64) @ weight
            bias = layer_weight.astype(np.float64) @ bias + layer_bias
        if weight.shape[0] != 1:
            raise ScorerError(f"head: the last layer must have width 1; got {weight.shape[0]}")
        self._weight, self._bias = weight[0], float(bias[0])
        self.version = version

    @property
    def width(self) -> int:
        """Width of the embeddings it takes."""
        return int(self._weight.shape[0])

    def __call__(self, embeddings: Matrix) -> Vector:
        """embeddings: (N, width) float32, L2-normalised. (N,) float32; a row's value depends on that row alone."""
        if embeddings.ndim != 2 or embeddings.shape[1] != self.width:
            raise ScorerError(f"embeddings must be (N, {self.width}); got {embeddings.shape}")
        scores: Vector = ((embeddings.astype(np.float64) * self._weight).sum(axis=1) + self._bias).astype(np.float32)
        return scores


def load_head(path: Path, clip_fingerprint: str) -> LinearHead:
    """The head in a safetensors file; ScorerError where it is another CLIP's, or names none."""
    layers, metadata = read_head(path)
    bound_to = metadata.get(FINGERPRINT_FIELD)
    if bound_to is None:
        raise ScorerError(
            f"head {path}: its metadata names no CLIP ({FINGERPRINT_FIELD}); write a copy that does with "
            "curation.linear_head.bind_head, after making sure which CLIP it was fitted on"
        )
    if bound_to != clip_fingerprint:
        raise ScorerError(
            f"head {path}: belongs to CLIP {bound_to[:16]}..., the CLIP in use is {clip_fingerprint[:16]}..."
        )
    return LinearHead(layers, metadata.get("version", path.stem))


def read_head(path: Path) -> tuple[list[tuple[Matrix, Vector]], dict[str, str]]:
    """The layers in order, and the metadata. A pickle is refused."""
    if path.is_dir():
        there = ", ".join(sorted(file.name for file in path.glob("*.safetensors"))) or "no .safetensors"
        raise ScorerError(f"head {path}: is a folder; name the file in it (there: {there})")
    if path.suffix != ".safetensors":
        raise ScorerError(
            f"head {path}: only .safetensors is loaded, since a pickle can run code; convert it once with "
            f"`python -m curation.convert_weights {path} {path.with_suffix('.safetensors')}`"
        )
    try:
        with safe_open(path, framework="np") as file:
            tensors = {name: file.get_tensor(name).astype(np.float32) for name in file.keys()}  # noqa: SIM118
            metadata = dict(file.metadata() or {})
    except (OSError, SafetensorError) as error:
        raise ScorerError(f"head {path}: cannot be read: {error}") from error
    prefixes = {name.removesuffix("weight") for name in tensors if name.endswith("weight")}
    ordered = sorted(prefixes, key=lambda prefix: [int(digits) for digits in re.findall(r"\d+", prefix)])
    if not ordered or any(prefix + "bias" not in tensors for prefix in ordered):
        raise ScorerError(f"head {path}: expected pairs of weight and bias; found {', '.join(sorted(tensors))}")
    layers = [(np.atleast_2d(tensors[prefix + "weight"]), tensors[prefix + "bias"].reshape(-1)) for prefix in ordered]
    return layers, metadata


def bind_head(source: Path, destination: Path, clip_fingerprint: str, version: str | None = None) -> None:
    """Write a copy of a head that names its CLIP."""
    layers, metadata = read_head(source)
    write_head(destination, layers, clip_fingerprint, metadata.get("version", version or source.stem), metadata)


def write_head(
    path: Path,
    layers: list[tuple[Matrix, Vector]],
    clip_fingerprint: str,
    version: str,
    facts: Mapping[str, str] | None = None,
) -> None:
    """Write layers as a head of the CLIP with this fingerprint; `facts` join its metadata."""
    tensors = {}
    for number, (weight, bias) in enumerate(layers):
        tensors[f"layers.{number}.weight"] = np.ascontiguousarray(weight, dtype=np.float32)
        tensors[f"layers.{number}.bias"] = np.ascontiguousarray(bias, dtype=np.float32)
    save_file(tensors, path, metadata={**(facts or {}), FINGERPRINT_FIELD: clip_fingerprint, "version": version})
