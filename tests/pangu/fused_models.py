"""Exact and random models to fuse, with spaces of their own: what the tests of fusion share."""

import torch
from torch import nn

from pangu.fusion import FusionPart, fuse_models
from pangu.latent_bridge import GridSpace, PixelSpace
from pangu.noise_schedule import NoiseSchedule
from pangu.prompted_model import PromptedModel, run_steps

SCHEDULE = NoiseSchedule()
LINEAR = NoiseSchedule(1000, 1e-4, 2e-2, "linear")
COSINE = NoiseSchedule(kind="squaredcos_cap_v2")
SIZE = (4, 4)


class TurnedSpace(GridSpace):
    """Pixels turned by an orthogonal matrix over their channels: a latent space without loss."""

    channels, factor = 3, 1

    def __init__(self, seed=0):
        torch.manual_seed(seed)
        self.turn = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64))[0]
        self.crossed = 0

    def encode(self, pixels):
        self.crossed += 1
        return torch.einsum("ij,bjhw->bihw", self.turn.to(pixels), pixels)

    def decode(self, latents):
        return torch.einsum("ji,bjhw->bihw", self.turn.to(latents), latents)


class LossySpace(GridSpace):
    """Three channels of half the side, by networks that are neither linear nor each other's inverse."""

    channels, factor = 3, 2

    def __init__(self, seed):
        torch.manual_seed(seed)
        self.down = nn.Conv2d(3, 3, 2, 2).double().requires_grad_(False)
        self.up = nn.ConvTranspose2d(3, 3, 2, 2).double().requires_grad_(False)

    def encode(self, pixels):
        return self.down(pixels).tanh()

    def decode(self, latents):
        return self.up(latents).tanh()


def gaussian_model(make, mean, *, space=None, schedule=SCHEDULE, size=SIZE, spread=0.7):
    """The exact model of pictures that are everywhere `mean` give or take `spread`, in its own space."""
    space = space or PixelSpace()
    denoiser = make(schedule, spread)
    centre = space.encode(torch.full((1, 3, *size), mean, dtype=torch.float64))

    def denoise(x_t, t):
        denoise.calls += 1
        told = make.told(*[0.0] * len(x_t))
        abar = schedule.abar_at(t).item()
        return centre + denoiser(x_t - abar**0.5 * centre, t, told)

    denoise.calls = 0
    return PromptedModel(denoise, space, schedule, size)


class Network(nn.Module):
    """A small random denoiser that depends on t."""

    def __init__(self, seed):
        super().__init__()
        torch.manual_seed(seed)
        self.first, self.last = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 3, 3, padding=1)
        self.double().requires_grad_(False)
        self.calls = 0

    def forward(self, x_t, t):
        self.calls += 1
        return self.last((self.first(x_t) + t / 1000).tanh())


def network_model(seed, space=None, size=SIZE, schedule=SCHEDULE):
    return PromptedModel(Network(seed), space or PixelSpace(), schedule, size)


def walk(model, steps=20, seeds=(3, 4)):
    """Clean latents, and the pixels of the leading model."""
    start = model.noise(seeds).double()
    latents = run_steps(model, start, model.schedule.sampling_timesteps(steps))
    return model.space.decode(latents)


def fused(first, *others, every=1):
    parts = [FusionPart(first), *(FusionPart(model, weight) for model, weight in others)]
    return fuse_models(parts, every=every)
