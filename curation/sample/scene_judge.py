"""The scene judge: a small network that reads a drawn scene's attributes from pixels, to measure generated pictures.

It trains, filters, ranks and conditions nothing: its only use is to say what a picture shows. `scene_judge_fit` trains it,
`scene_scores` holds its readings against what was asked for, `scene_rules` are the exact rules that stand beside it.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from curation.sample.scenes import BACKGROUNDS, COLOURS, KINDS, SIZES, STYLES, Scene

SIDE_PX = 64
WIDTHS = (32, 64, 88, 112)
FORMAT = "scene-judge-1"
UNASKED = -100
"""Target of an attribute that a scene does not have, such as the size of a pair; no loss and no figure counts it."""

ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "background": BACKGROUNDS,
    "style": STYLES,
    "first_kind": KINDS,
    "first_colour": tuple(COLOURS),
    "second_kind": ("none", *KINDS),
    "second_colour": ("none", *COLOURS),
    "axis": ("none", "across", "upright"),
    "count": ("1", "2", "3"),
    "side": ("middle", "left", "right"),
    "size": SIZES,
}
"""Attribute -> its classes. First is the left or upper thing of a pair; `axis` says whether there is a second at all."""

UInt8Image = NDArray[np.uint8]


def things_by_place(scene: Scene) -> Scene:
    """The same scene told from its left or upper thing: what a picture can be asked, since it has no first speaker."""
    if scene.relation == "right_of":
        return Scene(scene.background, scene.style, scene.things[::-1], relation="left_of")
    if scene.relation == "below":
        return Scene(scene.background, scene.style, scene.things[::-1], relation="above")
    return scene


def judge_targets(scene: Scene) -> dict[str, int]:
    """Class of every attribute; `UNASKED` for count in pairs, and for size where it is not free."""
    told = things_by_place(scene)
    first, second = told.things[0], told.things[1] if len(told.things) == 2 else None
    axis = {None: "none", "left_of": "across", "above": "upright"}[told.relation]
    names = {
        "background": told.background,
        "style": told.style,
        "first_kind": first.kind,
        "first_colour": first.colour,
        "second_kind": second.kind if second else "none",
        "second_colour": second.colour if second else "none",
        "axis": axis,
        "side": told.side or "middle",
    }
    targets = {name: ATTRIBUTES[name].index(value) for name, value in names.items()}
    targets["count"] = UNASKED if second else first.count - 1
    is_sized = second is None and first.count == 1 and told.side is None
    targets["size"] = SIZES.index(first.size) if is_sized else UNASKED
    return {name: targets[name] for name in ATTRIBUTES}


class JudgeNetwork(nn.Module):
    """Seven convolutions and one linear map: (N, 4, 64, 64) to (N, sum of classes) logits.

    Channels: RGB in [-1, 1] of the picture squashed to a square, and a plane with half its log2 of width / height.
    """

    def __init__(self, widths: Sequence[int] = WIDTHS) -> None:
        """Untrained; four halvings, so the last grid is 4 x 4, kept flat because places matter."""
        super().__init__()
        layers: list[nn.Module] = []
        inputs = 4
        for stage, width in enumerate(widths):
            layers += _convolution(inputs, width, kernel=5 if stage == 0 else 3, stride=2)
            if 0 < stage < len(widths) - 1:
                layers += _convolution(width, width, kernel=3, stride=1)
            inputs = width
        grid = SIDE_PX // 2 ** len(widths)
        self.trunk = nn.Sequential(*layers, nn.Flatten(), nn.Dropout(0.1))
        self.heads = nn.Linear(inputs * grid * grid, sum(len(classes) for classes in ATTRIBUTES.values()))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """See the class."""
        logits: torch.Tensor = self.heads(self.trunk(pixels))
        return logits


def _convolution(inputs: int, outputs: int, *, kernel: int, stride: int) -> list[nn.Module]:
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
    return [convolution, nn.BatchNorm2d(outputs), nn.ReLU()]


def split_logits(logits: torch.Tensor) -> dict[str, torch.Tensor]:
    """Logits (N, sum of classes) by attribute, each (N, classes)."""
    parts = torch.split(logits, [len(classes) for classes in ATTRIBUTES.values()], dim=1)
    return dict(zip(ATTRIBUTES, parts, strict=True))


def squash(image: UInt8Image) -> UInt8Image:
    """(H, W, 3) uint8 to (64, 64, 3) uint8, both sides to the same length."""
    if image.shape[:2] == (SIDE_PX, SIDE_PX):
        return image
    return np.asarray(Image.fromarray(image).resize((SIDE_PX, SIDE_PX), Image.Resampling.BICUBIC), np.uint8)


def judge_input(squashed: UInt8Image, aspects: NDArray[np.floating[Any]]) -> torch.Tensor:
    """(N, 64, 64, 3) uint8 and width / height (N,) to the network's (N, 4, 64, 64) float32."""
    pixels = torch.from_numpy(np.ascontiguousarray(squashed)).permute(0, 3, 1, 2).float() / 127.5 - 1
    plane = torch.from_numpy(np.log2(np.asarray(aspects, np.float32)) / 2)
    return torch.cat([pixels, plane[:, None, None, None].expand(-1, 1, SIDE_PX, SIDE_PX)], dim=1)


class SceneJudge:
    """Reads pictures of any size."""

    def __init__(self, network: JudgeNetwork) -> None:
        """Take a trained network; it is put in evaluation mode."""
        self.network = network.float().eval().requires_grad_(False)

    @classmethod
    def load(cls, folder: Path) -> "SceneJudge":
        """The judge that `save` wrote.

        Raises:
            ValueError: the folder holds none, or one whose attributes are not those of this code.
        """
        from safetensors.torch import load_file

        config = folder / "config.json"
        if not config.is_file():
            raise ValueError(f"judge: {folder} has no config.json; accepted is a folder written by SceneJudge.save")
        found = json.loads(config.read_text(encoding="utf-8"))
        wanted = {name: list(classes) for name, classes in ATTRIBUTES.items()}
        if found.get("format") != FORMAT or found.get("attributes") != wanted:
            raise ValueError(f"judge: {folder} is {found.get('format')!r} with other attributes; accepted is {FORMAT}")
        network = JudgeNetwork(found["widths"])
        network.load_state_dict(load_file(folder / "model.safetensors"))
        return cls(network)

    def save(self, folder: Path) -> None:
        """Write weights (fp16) and config."""
        from safetensors.torch import save_file

        folder.mkdir(parents=True, exist_ok=True)
        state = {name: weights.contiguous() for name, weights in self.network.state_dict().items()}
        state = {name: weights.half() if weights.is_floating_point() else weights for name, weights in state.items()}
        save_file(state, folder / "model.safetensors")
        widths = [m.out_channels for m in self.network.trunk if isinstance(m, nn.Conv2d) and m.stride == (2, 2)]
        config = {"format": FORMAT, "side_px": SIDE_PX, "widths": widths, "attributes": ATTRIBUTES}
        (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")

    def read(self, images: Sequence[UInt8Image], *, batch: int = 64) -> dict[str, NDArray[np.float32]]:
        """Log-probabilities (N, classes) by attribute of images (H, W, 3) uint8 of any sizes."""
        aspects = np.array([image.shape[1] / image.shape[0] for image in images])
        return self.read_input(judge_input(np.stack([squash(image) for image in images]), aspects), batch=batch)

    @torch.inference_mode()
    def read_input(self, inputs: torch.Tensor, *, batch: int = 64) -> dict[str, NDArray[np.float32]]:
        """The same of the network's own input (N, 4, 64, 64)."""
        logits = torch.cat([self.network(part) for part in torch.split(inputs, batch)])
        return {name: part.log_softmax(1).numpy() for name, part in split_logits(logits).items()}
