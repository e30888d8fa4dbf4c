"""The way from one model's latents to another's, through pixels: `z_A = E_A(resize(D_B(z_B)))`.

A latent space is anything with `noise`, `encode` and `decode`. Spaces wrap each other: a small autoencoder of the same
latents may stand in for the large one inside the bridge, and a tiled space bounds the memory of any other.
Source: arXiv 2312.16486, Coop-Diffusion.
"""

from abc import ABC, abstractmethod
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from pangu.autoencoder import decode_latents, downsampling_factor, encode_pixels
from pangu.generation_request import row_noise

Size = tuple[int, int]
"""(height, width) in pixels."""


class LatentSpace(Protocol):
    """What a model's latents mean in pixels. Latents (B, ...) have about unit variance; pixels lie in about [-1, 1]."""

    def noise(self, seed: int, size: Size) -> Tensor:
        """The standard normal latents (1, ...) that a picture of `size` starts from, drawn on the CPU from the seed."""
        ...

    def encode(self, pixels: Tensor) -> Tensor:
        """(B, 3, H, W) to latents."""
        ...

    def decode(self, latents: Tensor) -> Tensor:
        """Latents to (B, 3, H, W)."""
        ...


class GridSpace(ABC):
    """A latent space of C channels on a grid of one cell to `factor` x `factor` pixels. Base of our spaces."""

    channels: int
    factor: int

    def shape(self, size: Size) -> tuple[int, int, int]:
        """(C, h, w) of a picture's latents.

        Raises:
            ValueError: a side is not positive or does not divide by the factor.
        """
        if any(side < 1 or side % self.factor for side in size):
            raise ValueError(f"size: got {size}, expected a height and a width that divide by {self.factor}")
        return self.channels, size[0] // self.factor, size[1] // self.factor

    def noise(self, seed: int, size: Size) -> Tensor:
        """See `LatentSpace`: spaces of one shape get the same noise from the same seed."""
        return row_noise(seed, self.shape(size))[None]

    @abstractmethod
    def encode(self, pixels: Tensor) -> Tensor:
        """See `LatentSpace`."""

    @abstractmethod
    def decode(self, latents: Tensor) -> Tensor:
        """See `LatentSpace`."""


class PixelSpace(GridSpace):
    """Pixels themselves: the latent space of models without an autoencoder."""

    def __init__(self, channels: int = 3) -> None:
        """channels: of the pixels."""
        self.channels, self.factor = channels, 1

    def encode(self, pixels: Tensor) -> Tensor:
        """The pixels."""
        return pixels

    def decode(self, latents: Tensor) -> Tensor:
        """The latents."""
        return latents


class AutoencoderSpace(GridSpace):
    """The latents of any diffusers autoencoder, scaled and shifted as its config says.

    A tiny autoencoder (AutoencoderTiny, such as TAESD) is a space of the same latents as the large one it imitates.
    """

    def __init__(self, vae: Any) -> None:  # noqa: ANN401  (any diffusers autoencoder)
        """vae: on its device."""
        self.vae = vae
        self.channels = int(vae.config.latent_channels)
        self.factor = downsampling_factor(vae)

    def encode(self, pixels: Tensor) -> Tensor:
        """See `LatentSpace`; a KL encoder gives its mean."""
        return encode_pixels(self.vae, pixels).to(pixels.dtype)

    def decode(self, latents: Tensor) -> Tensor:
        """See `LatentSpace`."""
        return decode_latents(self.vae, latents).to(latents.dtype)


class ReducedPrecision(GridSpace):
    """Another space computed under autocast, which on processors with bfloat16 units takes a third of the time."""

    def __init__(self, space: GridSpace, dtype: torch.dtype = torch.bfloat16) -> None:
        """space: whose latents these are."""
        self.space, self.dtype = space, dtype
        self.channels, self.factor = space.channels, space.factor

    def encode(self, pixels: Tensor) -> Tensor:
        """See `LatentSpace`."""
        with torch.autocast(pixels.device.type, self.dtype):
            return self.space.encode(pixels).to(pixels.dtype)

    def decode(self, latents: Tensor) -> Tensor:
        """See `LatentSpace`."""
        with torch.autocast(latents.device.type, self.dtype):
            return self.space.decode(latents).to(latents.dtype)


class TiledSpace(GridSpace):
    """Another space, run on overlapping tiles that are blended linearly, so that memory does not grow with the picture."""

    def __init__(self, space: GridSpace, tile_px: int = 512, overlap_px: int = 128) -> None:
        """tile_px, overlap_px: the side of a tile and what two neighbours share.

        Raises:
            ValueError: they do not divide by the space's factor, or the overlap is not smaller than the tile.
        """
        if tile_px % space.factor or overlap_px % space.factor or not 0 <= overlap_px < tile_px:
            raise ValueError(
                f"tile_px, overlap_px: got {tile_px}, {overlap_px}, expected multiples of {space.factor}, overlap < tile"
            )
        self.space = space
        self.channels, self.factor = space.channels, space.factor
        self._tile, self._overlap = tile_px // space.factor, overlap_px // space.factor

    def encode(self, pixels: Tensor) -> Tensor:
        """See `LatentSpace`."""
        channels, height, width = self.shape((pixels.shape[2], pixels.shape[3]))
        return self._run(self.space.encode, pixels, (len(pixels), channels, height, width), self.factor, 1)

    def decode(self, latents: Tensor) -> Tensor:
        """See `LatentSpace`."""
        rows, _, height, width = latents.shape
        shape = (rows, 3, height * self.factor, width * self.factor)
        return self._run(self.space.decode, latents, shape, 1, self.factor)

    def _run(self, call: Any, values: Tensor, shape: tuple[int, ...], scale_in: int, scale_out: int) -> Tensor:  # noqa: ANN401
        """Sum of weighted tiles over the sum of weights; the scales are cells of input and output to one latent cell."""
        total, weight = values.new_zeros(shape), values.new_zeros(1, 1, *shape[2:])
        rows, columns = (values.shape[axis] // scale_in for axis in (2, 3))
        for top in _starts(rows, self._tile, self._overlap):
            for left in _starts(columns, self._tile, self._overlap):
                cut = values[
                    ...,
                    top * scale_in : (top + self._tile) * scale_in,
                    left * scale_in : (left + self._tile) * scale_in,
                ]
                tile = call(cut)
                down, across = slice(top * scale_out, None), slice(left * scale_out, None)
                ramp = _ramp(tile.shape[2], self._overlap * scale_out)[:, None] * _ramp(
                    tile.shape[3], self._overlap * scale_out
                )
                ramp = ramp.to(tile)
                total[..., down, across][..., : tile.shape[2], : tile.shape[3]] += tile * ramp
                weight[..., down, across][..., : tile.shape[2], : tile.shape[3]] += ramp
        return total / weight


def _starts(cells: int, tile: int, overlap: int) -> list[int]:
    """Where tiles begin along one side, the last one flush with its end."""
    if cells <= tile:
        return [0]
    return [*range(0, cells - tile, tile - overlap), cells - tile]


def _ramp(length: int, overlap: int) -> Tensor:
    """Weights (length,) that rise over `overlap` cells and fall at the end, above 0 everywhere."""
    place = torch.arange(length)
    nearest = torch.minimum(place, length - 1 - place) + 1
    return (nearest / (overlap + 1)).clamp(max=1.0)


def resize_pixels(pixels: Tensor, size: Size) -> Tensor:
    """(B, C, H, W) at another size, bicubic, antialiased where it shrinks; itself at its own."""
    if pixels.shape[2:] == size:
        return pixels
    return functional.interpolate(pixels, size, mode="bicubic", antialias=True)


def cross_bridge(latents: Tensor, source: LatentSpace, target: LatentSpace, size: Size) -> Tensor:
    """Latents of one space as latents of another at `size`: decoded, resized in pixels, encoded."""
    return target.encode(resize_pixels(source.decode(latents), size))
