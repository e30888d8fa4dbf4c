"""MobileNetV2's 1280 features and 1001 class logits from int8 safetensors with batch norm folded in.

Layout of the file: layer NN of 53 as `NN.weight_q` (int8, torch order), `NN.weight_scale` (one a channel), `NN.bias`.
Source: arXiv 1801.04381, table 2; input in [-1, 1], relu6, TensorFlow's SAME padding.
"""

from collections.abc import Sequence
from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional

from pangu.evaluation.batching import extract_in_batches
from pangu.evaluation.features import (
    ExtractorCard,
    ImageFeatures,
    UInt8Image,
    fingerprint_weights,
    resize_antialiased,
)

_SIDE_PX = 224
_NUM_LAYERS = 53
# (expansion, output channels, repeats, first stride) of every stage of inverted residuals.
_STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))


class MobileNetFeatures:
    """A small ImageNet classifier as feature network, for machines where Inception's weights are not to be had."""

    def __init__(
        self, weights: Path, *, other_uses: tuple[str, ...] = (), batch_size: int = 16, device: str = "cpu"
    ) -> None:
        """Load `weights`; a missing file or another layout is a ValueError."""
        if not weights.is_file():
            raise ValueError(f"weights: received {weights}, accepted: a safetensors file of MobileNetV2 in int8")
        state = load_file(weights)
        missing = [f"{i:02d}.weight_q" for i in range(_NUM_LAYERS) if f"{i:02d}.weight_q" not in state]
        if missing:
            raise ValueError(f"weights: {weights} lacks {missing[0]}, accepted: {_NUM_LAYERS} quantised layers")
        self._layers = [_dequantise(state, index, device) for index in range(_NUM_LAYERS)]
        self._batch_size, self._device = batch_size, device
        self._card = ExtractorCard(
            name="mobilenet-v2-int8",
            fingerprint=fingerprint_weights(state),
            num_dims=1280,
            resize_mode=f"bicubic-antialias-{_SIDE_PX}",
            other_uses=other_uses,
        )

    @property
    def card(self) -> ExtractorCard:
        """What stands beside its numbers."""
        return self._card

    def extract(self, images: Sequence[UInt8Image]) -> ImageFeatures:
        """Return features (N, 1280) and logits (N, 1001) of `images`, in their order."""
        return extract_in_batches(
            images,
            card=self._card,
            prepare=lambda image: resize_antialiased(image, _SIDE_PX) / 127.5 - 1.0,
            forward=self._forward,
            batch_size=self._batch_size,
            device=self._device,
            num_logits=1001,
        )

    def _forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Return pooled features (B, 1280) and logits (B, 1001) of pixels (B, 3, 224, 224) in [-1, 1]."""
        layers = iter(self._layers)
        hidden = _convolve(pixels, *next(layers), stride=2).clamp(0.0, 6.0)
        for expansion, _, repeats, first_stride in _STAGES:
            for repeat in range(repeats):
                entry = hidden
                if expansion > 1:
                    hidden = _convolve(hidden, *next(layers), stride=1).clamp(0.0, 6.0)
                stride = first_stride if repeat == 0 else 1
                hidden = _convolve(hidden, *next(layers), stride=stride, groups=hidden.shape[1]).clamp(0.0, 6.0)
                hidden = _convolve(hidden, *next(layers), stride=1)
                if repeat > 0:
                    hidden = hidden + entry
        hidden = _convolve(hidden, *next(layers), stride=1).clamp(0.0, 6.0)
        pooled = hidden.mean(dim=(2, 3))
        weight, bias = next(layers)
        return pooled, functional.linear(pooled, weight.flatten(1), bias)


def _dequantise(state: dict[str, Tensor], index: int, device: str) -> tuple[Tensor, Tensor]:
    """Return float32 weight and bias of one layer."""
    scale = state[f"{index:02d}.weight_scale"].reshape(-1, 1, 1, 1)
    return (state[f"{index:02d}.weight_q"].float() * scale).to(device), state[f"{index:02d}.bias"].to(device)


def _convolve(hidden: Tensor, weight: Tensor, bias: Tensor, *, stride: int, groups: int = 1) -> Tensor:
    """Return the convolution with TensorFlow's SAME padding, which puts the odd pixel at the bottom right."""
    kernel = weight.shape[-1]
    if kernel > 1:
        pads = [max((-(-size // stride) - 1) * stride + kernel - size, 0) for size in hidden.shape[-2:]]
        hidden = functional.pad(hidden, (pads[1] // 2, pads[1] - pads[1] // 2, pads[0] // 2, pads[0] - pads[0] // 2))
    return functional.conv2d(hidden, weight, bias, stride=stride, groups=groups)
