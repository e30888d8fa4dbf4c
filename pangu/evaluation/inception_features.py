"""Inception v3 as FID and IS use it, through torch-fidelity, with weights that the user supplies.

The weights are not carried here and never fetched: give the file `weights-inception-2015-12-05-6726825d.pth` of the
torch-fidelity project, or the same tensors as safetensors.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

from pangu.evaluation.features import ExtractorCard, ImageFeatures, UInt8Image, check_images, fingerprint_weights
from pangu.torchvision_ops import declare_missing_ops

_LAYERS = ["2048", "logits_unbiased"]


class InceptionFeatures:
    """2048 pooled features and 1008 unbiased logits of torch-fidelity's Inception v3."""

    def __init__(self, weights: Path, *, device: str = "cpu", batch_size: int = 32) -> None:
        """Load `weights` (.pth or .safetensors); a missing file or other tensors are a ValueError."""
        state = _read_weights(weights)
        declare_missing_ops()
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

        with tempfile.TemporaryDirectory() as folder:
            # The class takes a path and unpickles it without a guard: it gets a file that we wrote from plain tensors.
            safe_copy = Path(folder) / "inception.pth"
            torch.save(state, safe_copy)
            try:
                network = FeatureExtractorInceptionV3(
                    "inception-v3-compat", list(_LAYERS), feature_extractor_weights_path=str(safe_copy)
                )
            except RuntimeError as error:
                raise ValueError(
                    f"weights: received {weights}, accepted: the tensors of Inception v3: {error}"
                ) from error
        self._network = network.to(device)
        self._device, self._batch_size = device, batch_size
        self._card = ExtractorCard(
            name="inception-v3",
            fingerprint=fingerprint_weights(state),
            num_dims=2048,
            resize_mode="bilinear-299-tensorflow1",
            published=True,
        )

    @property
    def card(self) -> ExtractorCard:
        """What stands beside its numbers."""
        return self._card

    @torch.inference_mode()
    def extract(self, images: Sequence[UInt8Image]) -> ImageFeatures:
        """Return features (N, 2048) and logits (N, 1008) of `images`, in their order."""
        check_images(images)
        features = np.empty((len(images), 2048), dtype=np.float32)
        logits = np.empty((len(images), 1008), dtype=np.float32)
        for rows in _batches_of_one_size(images, self._batch_size):
            pixels = torch.from_numpy(np.stack([images[row] for row in rows])).permute(0, 3, 1, 2).contiguous()
            pooled, unbiased = self._network(pixels.to(self._device))
            features[rows] = pooled.cpu().numpy()
            logits[rows] = unbiased.cpu().numpy()
        return ImageFeatures(self._card, features, logits)


def _batches_of_one_size(images: Sequence[UInt8Image], batch_size: int) -> list[list[int]]:
    """Return row numbers cut into batches whose images are equally large: the network resizes inside."""
    rows_by_size: dict[tuple[int, ...], list[int]] = {}
    for row, image in enumerate(images):
        rows_by_size.setdefault(image.shape, []).append(row)
    return [
        rows[start : start + batch_size] for rows in rows_by_size.values() for start in range(0, len(rows), batch_size)
    ]


def _read_weights(path: Path) -> dict[str, torch.Tensor]:
    """Return the tensors of the file, without running anything it may hold."""
    if not path.is_file():
        raise ValueError(
            f"weights: received {path}, which is no file; accepted: torch-fidelity's Inception v3 weights "
            "(weights-inception-2015-12-05-6726825d.pth), or the same as .safetensors"
        )
    if path.suffix == ".safetensors":
        return load_file(path)
    state = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(state, dict):
        raise ValueError(f"weights: received a {type(state).__name__} in {path}, accepted: a dictionary of tensors")
    return state
