"""A watermark in the pixels through the library invisible-watermark: its RivaGAN method, whose networks it carries.

It holds 32 bits and survives in photographs; `watermark` has the figures. The library's frequency methods (dwtDct,
dwtDctSvd) lose their payload in a resize and in a crop, and are not offered. A picture that does not hold the mark
undamaged is refused by `Marker`.
"""

import importlib.metadata
from typing import TYPE_CHECKING, Any

import numpy as np

from pangu.provenance import MarkingError

if TYPE_CHECKING:  # torch is not needed to mark a file
    from pangu.autoencoder import UInt8Images

PAYLOAD = b"PGDR"
MIN_RIGHT_BITS = 27
"""Of 32: fair bits agree so often in 6 of 100,000 pictures."""

MIN_PIXELS = 256 * 256


class RivaGanWatermark:
    """Embeds 32 bits into pictures of at least 256 x 256 pixels; on the CPU, by ONNX Runtime."""

    def __init__(self, payload: bytes = PAYLOAD) -> None:
        """payload: 4 bytes.

        Raises:
            ValueError: another length, or the library is not installed.
        """
        if len(payload) != 4:
            raise ValueError(f"watermark payload: got {len(payload)} bytes, expected 4")
        try:
            import onnxruntime  # noqa: F401  (the library asks for it only when its networks load)
            from imwatermark import WatermarkDecoder, WatermarkEncoder
        except ImportError as error:
            raise ValueError(
                f"watermark = 'rivaGan': {error.name} is not installed; accepted is 'none', or install "
                "invisible-watermark and onnxruntime"
            ) from None
        WatermarkEncoder.loadModel()
        self._bits = np.unpackbits(np.frombuffer(payload, np.uint8))
        self._encoder: Any = WatermarkEncoder()
        self._encoder.set_watermark("bits", list(self._bits))
        self._decoder: Any = WatermarkDecoder("bits", len(self._bits))
        self.name = f"rivaGan {payload.hex()}, invisible-watermark {importlib.metadata.version('invisible-watermark')}"

    def embed(self, image: "UInt8Images") -> "UInt8Images":
        """(H, W, 3) uint8 in and out.

        Raises:
            MarkingError: the picture is too small.
        """
        if image.shape[0] * image.shape[1] < MIN_PIXELS:
            raise MarkingError(f"watermark: a picture of {image.shape[1]}x{image.shape[0]} is below 256x256 pixels")
        marked = self._encoder.encode(np.ascontiguousarray(image[..., ::-1]), "rivaGan")
        return np.ascontiguousarray(marked[..., ::-1])

    def right_bits(self, image: "UInt8Images") -> int:
        """How many of the 32 bits an (H, W, 3) uint8 picture carries; 0 where it is too small to tell."""
        if image.shape[0] * image.shape[1] < MIN_PIXELS:
            return 0
        found = self._decoder.decode(np.ascontiguousarray(image[..., ::-1]), "rivaGan")
        return int((np.asarray(found) == self._bits).sum())

    def is_found(self, image: "UInt8Images") -> bool:
        """Whether at least `MIN_RIGHT_BITS` agree."""
        return self.right_bits(image) >= MIN_RIGHT_BITS
