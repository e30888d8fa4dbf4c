"""Small real members without networks: each predicts one flat colour, read from its prompt, whatever the noise."""

from dataclasses import dataclass

import numpy as np
import torch

from pangu.condition_detectors import canny
from pangu.fusion_request import Member
from pangu.noise_schedule import NoiseSchedule
from pangu.prompted_model import PromptedModel
from ray_jobs.service.fusion_engine import FusionEngine

COLOURS = {"red": (1.0, -1.0, -1.0), "蓝色": (-1.0, -1.0, 1.0)}


class PixelSpace:
    """Pixels are their own latents."""

    channels, factor = 3, 1

    def noise(self, seed, size):
        return torch.randn((1, 3, *size), generator=torch.Generator("cpu").manual_seed(seed))

    def encode(self, pixels):
        return pixels

    def decode(self, latents):
        return latents


@dataclass
class FlatModel:
    """conditions: how many images it needs; the mean colour of the first counts in place of the prompt's."""

    space: PixelSpace
    num_conditions: int = 0
    default_size: tuple = (32, 32)

    def check_size(self, size):
        if max(size) > 256:
            raise ValueError(f"size: got {size}, expected at most 256 px a side")

    def told(self, rows, size):
        colours = []
        for row in rows:
            if self.num_conditions:
                colours.append(torch.tensor(row.condition_images[0].mean((0, 1)) / 127.5 - 1).float())
            else:
                named = [colour for word, colour in COLOURS.items() if word in row.prompt]
                colours.append(torch.tensor(named[0] if named else (0.0, 0.0, 0.0)))
        wanted = torch.stack(colours)[:, :, None, None].expand(-1, -1, *size)
        return PromptedModel(lambda x_t, t: wanted, self.space, NoiseSchedule(), size)


def make_members():
    spaces = [PixelSpace(), PixelSpace()]
    return {
        "painter": Member("painter", FlatModel(spaces[0]), "colours of words"),
        "tracer": Member(
            "tracer", FlatModel(spaces[1], num_conditions=1), "the colour of a picture", detectors=(canny,)
        ),
    }


@dataclass(frozen=True)
class StubFusionLoader:
    """Always the same members."""

    rows: int = 1

    def find(self):
        return "stub"

    def load(self, key):
        return FusionEngine(make_members(), key, rows=self.rows)


def mean_colour(file_pixels):
    return np.asarray(file_pixels).mean((0, 1))
