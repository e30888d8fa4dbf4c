"""Condition images made of ordinary pictures: what a ControlNet was trained to follow, by the libraries it was trained with.

`canny` is OpenCV's edge detector at the thresholds of the public edge ControlNets (100 and 200), white on black;
`depth=FOLDER` a depth-estimation model of transformers, its least value black and its greatest white: near is white with
models of inverse depth (DPT, Depth Anything), as depth ControlNets expect. Poses are given ready.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from pangu.autoencoder import UInt8Images

Detector = Callable[[UInt8Images], UInt8Images]
"""A picture (H, W, 3) uint8 to a condition image of the same shape."""

CANNY_THRESHOLDS = (100, 200)
ACCEPTED = "canny, depth=FOLDER (a depth-estimation model of transformers), or ready (the image is given as it must be)"


def canny(picture: UInt8Images) -> UInt8Images:
    """White edges on black.

    Raises:
        ValueError: OpenCV is not installed.
    """
    try:
        import cv2
    except ImportError:
        raise ValueError("detectors: canny needs OpenCV: pip install opencv-python-headless") from None
    edges = cv2.Canny(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), *CANNY_THRESHOLDS)
    return np.repeat(np.asarray(edges, np.uint8)[:, :, None], 3, axis=2)


class DepthDetector:
    """Relative depth by a model folder of transformers, on the CPU or wherever it is put."""

    def __init__(self, folder: Path, device: str = "cpu") -> None:
        """Load the model and its preprocessing.

        Raises:
            ValueError: the folder holds no depth-estimation model.
        """
        from pangu.torchvision_ops import declare_missing_ops

        declare_missing_ops()
        from transformers import AutoImageProcessor, AutoModelForDepthEstimation

        try:
            self.processor = AutoImageProcessor.from_pretrained(str(folder), local_files_only=True, backend="pil")
            self.model = (
                AutoModelForDepthEstimation.from_pretrained(str(folder), local_files_only=True).to(device).eval()
            )
        except (OSError, ValueError) as error:
            raise ValueError(f"detectors: {folder} is no depth-estimation model: {error}") from error
        self.device = device

    def __call__(self, picture: UInt8Images) -> UInt8Images:
        """See `Detector`. A picture of one depth is black."""
        import torch
        from PIL import Image

        inputs = self.processor(images=Image.fromarray(picture), return_tensors="pt").to(self.device)
        with torch.inference_mode():
            depth = self.model(**inputs).predicted_depth
        sized = torch.nn.functional.interpolate(depth[:, None].float(), picture.shape[:2], mode="bicubic")[0, 0].cpu()
        low, high = float(sized.min()), float(sized.max())
        shares = (sized - low) / (high - low) if high > low else torch.zeros_like(sized)
        grey = (255 * shares).round().to(torch.uint8).numpy()
        return np.repeat(grey[:, :, None], 3, axis=2)


def make_detector(said: str, folder: Path, device: str = "cpu") -> Detector | None:
    """The detector that an entry names; None for `ready`. folder: that relative ones are taken from.

    Raises:
        ValueError: there is none of that name.
    """
    if said == "ready":
        return None
    if said == "canny":
        return canny
    kind, _, where = said.partition("=")
    if kind == "depth" and where:
        return DepthDetector(folder / where, device)
    raise ValueError(f"detectors: got {said!r}, accepted are {ACCEPTED}")
