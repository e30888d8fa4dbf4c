import pytest
import torch
from torch import nn

from pangu.latent_bridge import (
    AutoencoderSpace,
    GridSpace,
    PixelSpace,
    ReducedPrecision,
    TiledSpace,
    cross_bridge,
    resize_pixels,
)
from pangu.networks import build_sample_autoencoder


class LocalSpace(GridSpace):
    """Two pixels to a latent, each way a convolution that looks no further than three cells."""

    channels, factor = 4, 2

    def __init__(self):
        torch.manual_seed(0)
        self.down, self.up = nn.Conv2d(3, 4, 4, 2, 1), nn.ConvTranspose2d(4, 3, 4, 2, 1)
        self.largest = 0

    @torch.no_grad()
    def encode(self, pixels):
        self.largest = max(self.largest, *pixels.shape[2:])
        return self.down(pixels)

    @torch.no_grad()
    def decode(self, latents):
        return self.up(latents)


def pixels(height, width, rows=2):
    return torch.rand(rows, 3, height, width, generator=torch.Generator().manual_seed(1)) * 2 - 1


def test_noise_is_the_seeds_own_and_equal_where_shapes_agree():
    space = LocalSpace()
    first = space.noise(5, (16, 8))
    assert first.shape == (1, 4, 8, 4)
    assert torch.equal(first, LocalSpace().noise(5, (16, 8)))
    assert not torch.equal(first, space.noise(6, (16, 8)))
    assert torch.equal(PixelSpace().noise(5, (8, 4))[:, :3], first[:, :3])


@pytest.mark.parametrize("size", [(15, 8), (0, 8), (16, -2)])
def test_a_size_that_does_not_divide_is_refused(size):
    with pytest.raises(ValueError, match=r"^size: got .*divide by 2"):
        LocalSpace().noise(0, size)


def test_an_autoencoder_gives_scaled_latents_and_its_pixels():
    torch.manual_seed(0)
    vae = build_sample_autoencoder(scaling_factor=0.5).eval()
    space = AutoencoderSpace(vae)
    with torch.no_grad():
        latents = space.encode(pixels(16, 24))
        assert latents.shape == (2, *space.shape((16, 24))) == (2, 8, 4, 6)
        assert torch.allclose(latents, vae.encode(pixels(16, 24)).latents * 0.5)
        assert torch.allclose(space.decode(latents), vae.decode(latents / 0.5).sample)


def test_a_shifted_autoencoder_is_shifted_both_ways():
    import diffusers

    blocks = {"down_block_types": ["DownEncoderBlock2D"] * 2, "up_block_types": ["UpDecoderBlock2D"] * 2}
    sizes = {"block_out_channels": (8, 8), "norm_num_groups": 4, "latent_channels": 4}
    torch.manual_seed(0)
    vae = diffusers.AutoencoderKL(**blocks, **sizes, scaling_factor=0.5, shift_factor=0.25).eval()
    space = AutoencoderSpace(vae)
    with torch.no_grad():
        latents = space.encode(pixels(16, 16))
        assert torch.allclose(latents, (vae.encode(pixels(16, 16)).latent_dist.mode() - 0.25) * 0.5)
        assert torch.allclose(space.decode(latents), vae.decode(latents / 0.5 + 0.25).sample, atol=1e-6)


@pytest.mark.parametrize(("height", "width"), [(32, 48), (16, 16), (40, 18)])
def test_tiles_give_the_same_inside_and_bound_what_runs_at_once(height, width):
    space = LocalSpace()
    tiled = TiledSpace(space, tile_px=16, overlap_px=8)
    whole = space.encode(pixels(height, width))
    space.largest = 0
    latents = tiled.encode(pixels(height, width))
    assert space.largest <= 16
    assert latents.shape == whole.shape
    decoded, expected = tiled.decode(whole), space.decode(whole)
    assert decoded.shape == expected.shape == (2, 3, height, width)
    if max(height, width) > 16:  # a tile's edge sees padding; blending leaves little of it
        assert (latents - whole).abs().mean() < 0.1 * whole.abs().mean()
        assert (decoded - expected).abs().mean() < 0.1 * expected.abs().mean()
    else:
        assert torch.allclose(latents, whole)


def test_tiles_of_what_is_linear_without_neighbours_are_exact():
    space = PixelSpace()
    tiled = TiledSpace(space, tile_px=7, overlap_px=3)
    assert torch.allclose(tiled.encode(pixels(30, 17)), pixels(30, 17), atol=1e-6)


@pytest.mark.parametrize(("tile", "overlap"), [(15, 4), (16, 3), (16, 16), (16, -2)])
def test_impossible_tiles_are_refused(tile, overlap):
    with pytest.raises(ValueError, match="tile_px, overlap_px: got"):
        TiledSpace(LocalSpace(), tile, overlap)


def test_reduced_precision_is_near_and_keeps_the_type():
    space = LocalSpace()
    reduced = ReducedPrecision(space)
    latents = space.encode(pixels(16, 16))
    assert reduced.encode(pixels(16, 16)).dtype is torch.float32
    assert 0 < (reduced.encode(pixels(16, 16)) - latents).abs().max() < 0.02
    assert torch.allclose(reduced.decode(latents), space.decode(latents), atol=0.05)


def test_the_bridge_decodes_resizes_and_encodes():
    space, target = LocalSpace(), PixelSpace()
    latents = space.noise(0, (16, 16))
    crossed = cross_bridge(latents, space, target, (8, 12))
    assert torch.equal(crossed, resize_pixels(space.decode(latents), (8, 12)))
    assert torch.equal(cross_bridge(latents, space, target, (16, 16)), space.decode(latents))


def test_shrinking_is_antialiased():
    """A checkerboard of single pixels becomes grey, not one of its colours."""
    board = (torch.arange(32)[:, None] + torch.arange(32)) % 2 * 2.0 - 1
    small = resize_pixels(board.expand(1, 3, 32, 32), (8, 8))
    assert small[..., 2:-2, 2:-2].abs().max() < 0.05
