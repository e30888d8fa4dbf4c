"""The tiny autoencoder of FLUX.2's latent space, `taef2`: 32 channels at an eighth of the side, 1.3 M weights each way.

Its lowest-resolution blocks carry a normalised branch that diffusers' AutoencoderTiny does not know. Weights: MIT,
madebyollin/taesd, `taef2_encoder` and `taef2_decoder` as safetensors.
"""

from collections.abc import Sequence
from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor, nn

from pangu.latent_bridge import GridSpace

WIDTH = 64
CHANNELS = 32
FACTOR = 8
SPREAD = 0.85
"""Standard deviation of the raw latents of photographs."""


class _Block(nn.Module):
    """Three convolutions beside a skip; with `pool`, a normalised branch of four times the width is added first."""

    def __init__(self, *, pool: bool) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for _ in range(3):
            layers += [nn.Conv2d(WIDTH, WIDTH, 3, padding=1), nn.ReLU()]
        self.conv = nn.Sequential(*layers[:-1])
        self.pool: nn.Module | None = None
        if pool:
            wide = 4 * WIDTH
            first, last = nn.Conv2d(WIDTH, wide, 1, bias=False), nn.Conv2d(wide, WIDTH, 1, bias=False)
            self.pool = nn.Sequential(first, nn.GroupNorm(4, wide), nn.ReLU(), last)

    def forward(self, x: Tensor) -> Tensor:
        if self.pool is not None:
            x = x + self.pool(x)
        return nn.functional.relu(self.conv(x) + x)


class _SoftClamp(nn.Module):
    """3 tanh(x / 3)."""

    def forward(self, x: Tensor) -> Tensor:
        return 3 * (x / 3).tanh()


def _stage(blocks: int, *, pool: bool = False) -> Sequence[nn.Module]:
    return [_Block(pool=pool) for _ in range(blocks)]


def build_taef2_encoder() -> nn.Module:
    """(B, 3, H, W) in [0, 1] to raw latents (B, 32, H / 8, W / 8); random weights."""
    layers: list[nn.Module] = [nn.Conv2d(3, WIDTH, 3, padding=1), *_stage(1)]
    for place in range(3):
        layers += [nn.Conv2d(WIDTH, WIDTH, 3, stride=2, padding=1, bias=False), *_stage(3, pool=place == 2)]
    return nn.Sequential(*layers, nn.Conv2d(WIDTH, CHANNELS, 3, padding=1))


def build_taef2_decoder() -> nn.Module:
    """Raw latents (B, 32, h, w) to (B, 3, 8 h, 8 w), about [0, 1]; random weights."""
    layers: list[nn.Module] = [_SoftClamp(), nn.Conv2d(CHANNELS, WIDTH, 3, padding=1), nn.ReLU()]
    for place in range(3):
        layers += [*_stage(3, pool=place == 0), nn.Upsample(scale_factor=2)]
        layers.append(nn.Conv2d(WIDTH, WIDTH, 3, padding=1, bias=False))
    return nn.Sequential(*layers, *_stage(1), nn.Conv2d(WIDTH, 3, 3, padding=1))


class Taef2Space(GridSpace):
    """The latent space of FLUX.2 by its tiny autoencoder."""

    channels = CHANNELS
    factor = FACTOR

    def __init__(self, encoder: nn.Module, decoder: nn.Module) -> None:
        """encoder, decoder: as built above, with their weights."""
        self.encoder = encoder.eval().requires_grad_(False)
        self.decoder = decoder.eval().requires_grad_(False)

    @classmethod
    def load(cls, folder: Path) -> "Taef2Space":
        """From `taef2_encoder.safetensors` and `taef2_decoder.safetensors`, in float32."""
        encoder, decoder = build_taef2_encoder(), build_taef2_decoder()
        for network, name in ((encoder, "encoder"), (decoder, "decoder")):
            weights = load_file(folder / f"taef2_{name}.safetensors")
            network.load_state_dict({key: value.float() for key, value in weights.items()})
        return cls(encoder, decoder)

    def encode(self, pixels: Tensor) -> Tensor:
        """(B, 3, H, W) in [-1, 1] to latents (B, 32, H / 8, W / 8) of about unit variance."""
        latents: Tensor = self.encoder((pixels + 1) / 2)
        return latents / SPREAD

    def decode(self, latents: Tensor) -> Tensor:
        """Latents (B, 32, h, w) to pixels (B, 3, 8 h, 8 w), about [-1, 1]."""
        pixels: Tensor = self.decoder(latents * SPREAD)
        return pixels * 2 - 1
