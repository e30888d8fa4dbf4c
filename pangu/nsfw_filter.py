"""The output filter of NSFWJS: a MobileNetV2 that tells Drawing, Hentai, Neutral, Porn and Sexy apart, from its tfjs files.

The graph is read from `model.json` and run in torch; weights are uint8 with a scale, as published. Nothing is unpickled and
no code comes from the files: only the layer kinds below are known.

Source: github.com/infinitered/nsfwjs, models/mobilenet_v2; TensorFlow.js layers-model format.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from pangu.output_filter import Verdict

if TYPE_CHECKING:
    from pangu.autoencoder import UInt8Images

CLASSES = ("Drawing", "Hentai", "Neutral", "Porn", "Sexy")
THRESHOLDS = {"Hentai": 0.7, "Porn": 0.7}
SIDE_PX = 224
_ROWS = 16

Weights = dict[str, Tensor]


class NsfwFilter:
    """Blocks a picture when a class reaches its threshold. Runs on the CPU."""

    def __init__(self, folder: Path, thresholds: Mapping[str, float]) -> None:
        """folder: `model.json` and its shards. thresholds: class name to the probability from which it blocks.

        Raises:
            ValueError: an unknown class or threshold, or files that are not this model's.
        """
        for name, most in thresholds.items():
            if name not in CLASSES or not 0 <= most <= 1:
                raise ValueError(
                    f"output_filter.thresholds: got {name} = {most}; accepted are 0 to 1 for {', '.join(CLASSES)}"
                )
        self.thresholds = dict(thresholds)
        try:
            self.layers, self.weights, digest = _read_model(folder)
        except (OSError, KeyError, ValueError) as error:
            raise ValueError(f"output_filter.weights: {folder} is not the NSFWJS model: {error}") from None
        self.name = f"nsfwjs mobilenet_v2 {digest[:16]}"

    def __call__(self, images: "Sequence[UInt8Images]") -> list[Verdict]:
        """One verdict an image; images are (H, W, 3) uint8 RGB."""
        verdicts: list[Verdict] = []
        for start in range(0, len(images), _ROWS):
            for scores in self.probabilities(images[start : start + _ROWS]).tolist():
                named = dict(zip(CLASSES, scores, strict=True))
                over = [f"{name} {named[name]:.2f}" for name, most in self.thresholds.items() if named[name] >= most]
                verdicts.append(Verdict(named, ", ".join(over) or None))
        return verdicts

    @torch.inference_mode()
    def probabilities(self, images: "Sequence[UInt8Images]") -> Tensor:
        """(B, 5) float32 in the order of `CLASSES`. The pictures are stretched to 224 px, as NSFWJS does."""
        resized = [Image.fromarray(image).resize((SIDE_PX, SIDE_PX), Image.Resampling.BILINEAR) for image in images]
        values: dict[str, Tensor] = {}
        x = torch.from_numpy(np.stack([np.asarray(each) for each in resized])).permute(0, 3, 1, 2).float() / 255
        for layer in self.layers:
            nodes = layer["inbound_nodes"]
            given = [values[node[0]] for node in nodes[0]] if nodes else [x]
            values[layer["name"]] = x = _LAYERS[layer["class_name"]](given, layer["config"], self.weights)
        return x


def make_filter(weights: Path | None, thresholds: Mapping[str, float]) -> NsfwFilter:
    """For `output_filter.factory = pangu.nsfw_filter:make_filter`; without thresholds, those of `THRESHOLDS`."""
    if weights is None:
        raise ValueError("output_filter.weights: not given; accepted is the folder of the NSFWJS model")
    return NsfwFilter(weights, thresholds or THRESHOLDS)


def _read_model(folder: Path) -> tuple[list[dict[str, Any]], Weights, str]:
    """Layers in order, weights by name in torch's layouts, digest of all files."""
    described = (folder / "model.json").read_bytes()
    model = json.loads(described)
    digest = hashlib.sha256(described)
    layers: list[dict[str, Any]] = model["modelTopology"]["model_config"]["config"]["layers"]
    unknown = sorted({layer["class_name"] for layer in layers} - _LAYERS.keys())
    if unknown:
        raise ValueError(f"layers of kind {', '.join(unknown)}")
    weights: Weights = {}
    for group in model["weightsManifest"]:
        data = b"".join((folder / Path(name).name).read_bytes() for name in group["paths"])
        digest.update(data)
        offset = 0
        for entry in group["weights"]:
            count = int(np.prod(entry["shape"]))
            raw = np.frombuffer(data, np.uint8, count, offset).astype(np.float32)
            offset += count
            scaled = raw * np.float32(entry["quantization"]["scale"]) + np.float32(entry["quantization"]["min"])
            weights[entry["name"]] = torch.from_numpy(scaled.reshape(entry["shape"]))
    return layers, weights, digest.hexdigest()


def _convolve(given: list[Tensor], config: dict[str, Any], weights: Weights) -> Tensor:
    kernel = weights[f"{config['name']}/kernel"].permute(3, 2, 0, 1)
    padding = config["kernel_size"][0] // 2 if config["padding"] == "same" else 0
    return functional.conv2d(given[0], kernel, stride=config["strides"][0], padding=padding)


def _convolve_each(given: list[Tensor], config: dict[str, Any], weights: Weights) -> Tensor:
    kernel = weights[f"{config['name']}/depthwise_kernel"].permute(2, 3, 0, 1)
    padding = config["kernel_size"][0] // 2 if config["padding"] == "same" else 0
    return functional.conv2d(given[0], kernel, stride=config["strides"][0], padding=padding, groups=len(kernel))


def _normalise(given: list[Tensor], config: dict[str, Any], weights: Weights) -> Tensor:
    mean, variance, gamma, beta = (
        weights[f"{config['name']}/{each}"] for each in ("moving_mean", "moving_variance", "gamma", "beta")
    )
    return functional.batch_norm(given[0], mean, variance, gamma, beta, eps=config["epsilon"])


def _pad(given: list[Tensor], config: dict[str, Any], _: Weights) -> Tensor:
    (top, bottom), (left, right) = config["padding"]
    return functional.pad(given[0], (left, right, top, bottom))


def _flatten(given: list[Tensor], _: dict[str, Any], __: Weights) -> Tensor:
    return given[0].permute(0, 2, 3, 1).flatten(1)


def _connect(given: list[Tensor], config: dict[str, Any], weights: Weights) -> Tensor:
    result = given[0] @ weights[f"{config['name']}/kernel"] + weights[f"{config['name']}/bias"]
    return result.softmax(-1) if config["activation"] == "softmax" else result.relu()


_LAYERS: dict[str, Callable[[list[Tensor], dict[str, Any], Weights], Tensor]] = {
    "InputLayer": lambda given, _, __: given[0],
    "Conv2D": _convolve,
    "DepthwiseConv2D": _convolve_each,
    "BatchNormalization": _normalise,
    "ReLU": lambda given, config, _: given[0].clamp(0, config["max_value"]),
    "Add": lambda given, _, __: given[0] + given[1],
    "ZeroPadding2D": _pad,
    "Dropout": lambda given, _, __: given[0],
    "AveragePooling2D": lambda given, config, _: functional.avg_pool2d(given[0], config["pool_size"]),
    "Flatten": _flatten,
    "Dense": _connect,
}
