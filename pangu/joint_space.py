"""The latents of several models side by side: what a fusion across latent spaces walks in."""

from collections.abc import Sequence

import torch
from torch import Tensor

from pangu.latent_bridge import LatentSpace, Size, resize_pixels


class JointSpace:
    """The latents of several spaces side by side, (B, N): what a fusion across spaces walks in.

    Decoding gives the first one's picture.
    """

    def __init__(self, spaces: Sequence[LatentSpace], sizes: Sequence[Size]) -> None:
        """spaces, sizes: one to one."""
        self.spaces, self.sizes = tuple(spaces), tuple(sizes)
        self._shapes = [space.noise(0, size).shape[1:] for space, size in zip(spaces, sizes, strict=True)]

    def join(self, parts: Sequence[Tensor]) -> Tensor:
        """Latents of every space, in order, as (B, N)."""
        return torch.cat([part.flatten(1) for part in parts], dim=1)

    def split(self, latents: Tensor) -> list[Tensor]:
        """(B, N) as latents of every space."""
        cut = torch.split(latents, [shape.numel() for shape in self._shapes], dim=1)
        return [part.reshape(-1, *shape) for part, shape in zip(cut, self._shapes, strict=True)]

    def noise(self, seed: int, size: Size) -> Tensor:
        """See `LatentSpace`; equal shapes start from equal noise. size: of the first space, the others keep their own."""
        del size
        return self.join([space.noise(seed, own) for space, own in zip(self.spaces, self.sizes, strict=True)])

    def encode(self, pixels: Tensor) -> Tensor:
        """See `LatentSpace`; every space at its own size."""
        return self.join(
            [space.encode(resize_pixels(pixels, size)) for space, size in zip(self.spaces, self.sizes, strict=True)]
        )

    def decode(self, latents: Tensor) -> Tensor:
        """See `LatentSpace`; the first space's picture."""
        return self.spaces[0].decode(self.split(latents)[0])
