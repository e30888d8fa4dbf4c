"""Inception v3 as FID and IS use it, through torch-fidelity, with weights that the user supplies.

The weights are not carried here and never fetched: give the file `weights-inception-2015-12-05-6726825d.pth` of the
torch-fidelity project, or the same tensors as safetensors.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from pangu.evaluation.batching import extract_in_batches
from pangu.evaluation.features import ExtractorCard, ImageFeatures, UInt8Image, fingerprint_weights
from pangu.torchvision_ops import declare_missing_ops

_SIDE_PX = 299
_NUM_LOGITS = 1008


class InceptionFeatures:
    """2048 pooled features and 1008 unbiased logits of torch-fidelity's Inception v3.

    Each image is resized by itself, as TensorFlow 1 does it, so a batch may mix sizes. Batch norms are folded into
    their convolutions and activations lie channels last; both leave the features equal to about 1e-5.
    """

    def __init__(self, weights: Path, *, device: str = "cpu", batch_size: int = 16) -> None:
        """Load `weights` (.pth or .safetensors); a missing file or other tensors are a ValueError."""
        state = _read_weights(weights)
        network: Any = _fold_batch_norms(_build(state, weights))
        self._stages = _stages_in_order(network.to(device, memory_format=torch.channels_last))
        self._classes = state["fc.weight"].float().T.contiguous().to(device)
        self._device, self._batch_size = device, batch_size
        self._card = ExtractorCard(
            name="inception-v3",
            fingerprint=fingerprint_weights(state),
            num_dims=2048,
            resize_mode=f"bilinear-{_SIDE_PX}-tensorflow1",
            published=True,
        )

    @property
    def card(self) -> ExtractorCard:
        """What stands beside its numbers."""
        return self._card

    def extract(self, images: Sequence[UInt8Image]) -> ImageFeatures:
        """Return features (N, 2048) and logits (N, 1008) of `images`, in their order."""
        return extract_in_batches(
            images,
            card=self._card,
            prepare=_resize,
            forward=self._forward,
            batch_size=self._batch_size,
            device=self._device,
            num_logits=_NUM_LOGITS,
        )

    def _forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Return pooled features (B, 2048) and logits (B, 1008) of pixels (B, 3, 299, 299) in [-1, 1]."""
        hidden = pixels.contiguous(memory_format=torch.channels_last)
        for stage in self._stages:
            hidden = stage(hidden)
        pooled = torch.flatten(hidden, 1)
        return pooled, pooled @ self._classes


def _build(state: dict[str, Tensor], source: Path) -> nn.Module:
    """Return torch-fidelity's network with these tensors."""
    declare_missing_ops()
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    with tempfile.TemporaryDirectory() as folder:
        # The class takes a path and unpickles it without a guard: it gets a file that we wrote from plain tensors.
        safe_copy = Path(folder) / "inception.pth"
        torch.save(state, safe_copy)
        try:
            network: nn.Module = FeatureExtractorInceptionV3(
                "inception-v3-compat", ["2048", "logits_unbiased"], feature_extractor_weights_path=str(safe_copy)
            )
        except RuntimeError as error:
            raise ValueError(f"weights: received {source}, accepted: the tensors of Inception v3: {error}") from error
    return network


def _fold_batch_norms(network: nn.Module) -> nn.Module:
    """Return the network with every pair of convolution and batch norm made one convolution."""
    for module in list(network.modules()):
        if isinstance(getattr(module, "conv", None), nn.Conv2d) and isinstance(
            getattr(module, "bn", None), nn.BatchNorm2d
        ):
            pair: Any = module
            pair.conv, pair.bn = fuse_conv_bn_eval(pair.conv, pair.bn), nn.Identity()
    return network


def _stages_in_order(network: nn.Module) -> list[nn.Module]:
    """Return the network's stages up to the pooling, in the order of its definition, which is that of its forward."""
    return [stage for name, stage in network.named_children() if name != "fc"]


def _resize(image: UInt8Image) -> Tensor:
    """Return (3, 299, 299) float32 in [-1, 1], resized as the published numbers were."""
    from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x

    pixels = torch.from_numpy(image.copy() if not image.flags.writeable else image).permute(2, 0, 1)[None].float()
    resized: Tensor = interpolate_bilinear_2d_like_tensorflow1x(pixels, size=(_SIDE_PX, _SIDE_PX), align_corners=False)
    return (resized[0] - 128.0) / 128.0


def _read_weights(path: Path) -> dict[str, Tensor]:
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
