"""Random changes to the pictures that the image tower learns from; each kind keeps what its captions say true."""

import torch
from torch.nn import functional as F

from curation.dual_encoder import IMAGE_SIDE_PX


def augment_cut_outs(pixels: torch.Tensor, may_mirror: torch.Tensor, may_recolour: torch.Tensor) -> torch.Tensor:
    """Turned, stretched, restyled, on a random backdrop: (B, 4, 112, 112) uint8 to (B, 3, 96, 96) float in [0, 255].

    Some shrink before their backdrop, some lose a rectangle, some of those that may take other hues or lose all: art
    styles agree on shapes more than on colours.
    """
    count = len(pixels)
    scale = 0.76 + 0.8 * torch.rand(count)
    warp = _affine(scale, 0.30, 0.12, 0.12, may_mirror, (1 - scale).abs() + 0.12)
    warped = _sampled(pixels, warp, "zeros")
    alpha = warped[:, 3:] / 255 * _with_a_hole(count)
    backdrops = _backdrops(count)
    pictures = warped[:, :3] * alpha + backdrops * (1 - alpha)
    some = torch.rand(count) < 0.6
    pictures[some] = restyle(pictures[some])
    some = may_recolour & (torch.rand(count) < 0.6)
    pictures[some] = recolour(pictures[some])
    return vary_light(pictures, 0.4)


def augment_clothing(pixels: torch.Tensor, may_mirror: torch.Tensor) -> torch.Tensor:
    """Windows of photographs in any colours, since no class depends on one; (B, 4, 112, 112) to (B, 3, 96, 96)."""
    count = len(pixels)
    scale = 0.6 + 0.4 * torch.rand(count)
    warp = _affine(scale, 0.40, 0.12, 0.10, may_mirror, 1 - scale)
    pictures = _sampled(pixels[:, :3], warp, "reflection")
    order = torch.stack([torch.randperm(3) for _ in range(count)])
    order = torch.where(torch.rand(count, 1) < 0.4, order, torch.arange(3))
    pictures = pictures.gather(1, order[:, :, None, None].expand_as(pictures))
    pictures = torch.where(torch.rand(count, 1, 1, 1) < 0.15, pictures.mean(1, keepdim=True), pictures)
    return vary_light(pictures, 0.6)


def augment_photos(pixels: torch.Tensor, may_mirror: torch.Tensor) -> torch.Tensor:
    """Windows of photographs whose captions name colours and several things; (B, 4, 112, 112) to (B, 3, 96, 96)."""
    scale = 0.6 + 0.4 * torch.rand(len(pixels))
    warp = _affine(scale, 0.30, 0.10, 0.0, may_mirror, 1 - scale)
    return vary_light(_sampled(pixels[:, :3], warp, "reflection"), 0.4)


def augment_drawn(pixels: torch.Tensor) -> torch.Tensor:
    """Small shifts, zooms and light changes that keep sides, counts and relations true; (B, 3, 96, 96) in [0, 255]."""
    count = len(pixels)
    never = torch.zeros(count, dtype=torch.bool)
    warp = _affine(0.94 + 0.12 * torch.rand(count), 0.0, 0.0, 0.0, never, torch.full((count,), 0.05))
    return vary_light(_sampled(pixels, warp, "border"))


def augment_view(pixels: torch.Tensor) -> torch.Tensor:
    """Mirror, small zooms and shifts, light: what leaves a teacher's word on (B, 3, 112, 112) true; (B, 3, 96, 96)."""
    count = len(pixels)
    scale = 0.85 + 0.15 * torch.rand(count)
    warp = _affine(scale, 0.0, 0.0, 0.0, torch.ones(count, dtype=torch.bool), 1 - scale)
    return vary_light(_sampled(pixels, warp, "border"))


def _affine(
    scale: torch.Tensor, stretch: float, turn: float, shear: float, may_mirror: torch.Tensor, room: torch.Tensor
) -> torch.Tensor:
    """Warps (B, 2, 3): windows of `scale` (B,), stretched by up to e^(stretch / 2), turned by a Gaussian angle, sheared."""
    count = len(scale)
    stretched = torch.exp(stretch * (torch.rand(count) - 0.5))
    angle, sheared = torch.randn(count) * turn, (torch.rand(count) * 2 - 1) * shear
    mirror = torch.where(may_mirror & (torch.rand(count) < 0.5), -1.0, 1.0)
    shift = (torch.rand(count, 2) * 2 - 1) * room[:, None]
    across = torch.stack([scale * stretched * mirror * angle.cos(), scale * (sheared - angle.sin()), shift[:, 0]], 1)
    down = torch.stack([scale * mirror * angle.sin(), scale / stretched * angle.cos(), shift[:, 1]], 1)
    return torch.stack([across, down], dim=1)


def _sampled(pixels: torch.Tensor, warp: torch.Tensor, beyond: str) -> torch.Tensor:
    grid = F.affine_grid(warp, [len(pixels), 1, IMAGE_SIDE_PX, IMAGE_SIDE_PX], align_corners=False)
    return F.grid_sample(pixels.float(), grid, padding_mode=beyond, align_corners=False)


def _with_a_hole(count: int, *, share: float = 0.1) -> torch.Tensor:
    """(B, 1, 96, 96) ones, with a rectangle of zeros for `share` of the rows."""
    low = torch.rand(count, 2) * 0.75
    high = low + 0.15 + 0.25 * torch.rand(count, 2)
    high = torch.where(torch.rand(count, 1) < share, high, low)
    at = torch.linspace(0, 1, IMAGE_SIDE_PX)
    inside = (at >= low[..., None]) & (at < high[..., None])
    return 1.0 - (inside[:, 0, :, None] & inside[:, 1, None, :])[:, None].float()


def _backdrops(count: int) -> torch.Tensor:
    """White for half, else a colour that runs into another one."""
    top, bottom = torch.rand(2, count, 3, 1, 1) * 255
    run = torch.linspace(0, 1, IMAGE_SIDE_PX)[None, None, :, None]
    coloured = (top * (1 - run) + bottom * run).expand(count, 3, IMAGE_SIDE_PX, IMAGE_SIDE_PX)
    return torch.where(torch.rand(count, 1, 1, 1) < 0.5, torch.tensor(255.0), coloured)


def restyle(pictures: torch.Tensor) -> torch.Tensor:
    """The same drawing in another hand: edges softened or hardened, tones bent or stepped; hues stay; [0, 255]."""
    count = len(pictures)
    soft = F.avg_pool2d(pictures, 5, stride=1, padding=2, count_include_pad=False)
    harder = (torch.rand(count, 1, 1, 1) * 2.4 - 0.9) * (torch.rand(count, 1, 1, 1) < 0.6)
    pictures = (pictures + harder * (pictures - soft)).clamp(0, 255)
    grey = pictures.mean(1, keepdim=True).clamp_min(1.0)
    bend = torch.exp(0.9 * (torch.rand(count, 1, 1, 1) - 0.5))
    bent = 255 * (grey / 255) ** bend
    step = 16 + 48 * torch.rand(count, 1, 1, 1)
    stepped = torch.where(torch.rand(count, 1, 1, 1) < 0.25, (bent / step).round() * step, bent)
    return (pictures * (stepped / grey)).clamp(0, 255)


def recolour(pictures: torch.Tensor, *, turn: float = 1.4, grey_share: float = 0.15) -> torch.Tensor:
    """Hues turned round the grey axis by up to `turn` radians, for a share all of them lost; (B, 3, H, W) in [0, 255]."""
    count = len(pictures)
    angle = (torch.rand(count) * 2 - 1) * turn
    part, side = (1 - angle.cos()) / 3, angle.sin() / 3**0.5
    kept = angle.cos() + part
    rows = [[kept, part - side, part + side], [part + side, kept, part - side], [part - side, part + side, kept]]
    rotation = torch.stack([torch.stack(row, dim=1) for row in rows], dim=1)
    rotation = torch.where(torch.rand(count, 1, 1) < grey_share, torch.tensor(1 / 3), rotation)
    return torch.einsum("nij,njhw->nihw", rotation, pictures).clamp(0, 255)


def vary_light(pictures: torch.Tensor, strength: float = 0.28) -> torch.Tensor:
    """Random brightness, contrast, saturation and grain, mild enough to leave colour names true; [0, 255]."""
    count = len(pictures)
    brightness, contrast, saturation = (1 + strength * (torch.rand(3, count, 1, 1, 1) - 0.5)).unbind(0)
    grey = pictures.mean(1, keepdim=True)
    varied = (grey + (pictures - grey) * saturation) * brightness
    level = varied.mean((1, 2, 3), keepdim=True)
    varied = (varied - level) * contrast + level
    grain = torch.rand(count) * 8
    grainy = (torch.rand(count) < 0.3).nonzero().flatten()
    varied[grainy] += grain[grainy, None, None, None] * torch.randn_like(varied[grainy])
    return varied.clamp(0, 255)
