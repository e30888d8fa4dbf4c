"""Members whose networks are elsewhere work at the same time: all are asked before any is waited for."""

import pytest
import torch

from pangu.fusion import FusionPart, WeightSchedule, fuse_models
from pangu.latent_bridge import PixelSpace
from pangu.noise_schedule import NoiseSchedule
from pangu.prompted_model import PromptedModel, sample


class Elsewhere:
    """A denoiser with a `begin` of its own, which says when it is asked and when it is waited for."""

    def __init__(self, name, said):
        self.name, self.said = name, said

    def begin(self, x_t, t):
        self.said.append(f"ask {self.name}")

        def wait():
            self.said.append(f"wait for {self.name}")
            return torch.zeros_like(x_t)

        return wait


@pytest.mark.parametrize("shared", [True, False])
def test_all_members_are_asked_before_the_first_is_waited_for(shared):
    """Members of one latent space, and of two."""
    spaces = [PixelSpace()] * 2 if shared else [PixelSpace(), PixelSpace()]
    said = []
    models = [
        PromptedModel(Elsewhere(name, said), space, NoiseSchedule(), (4, 4))
        for name, space in zip("ab", spaces, strict=True)
    ]
    fused = fuse_models([FusionPart(models[0]), FusionPart(models[1], WeightSchedule.fading(0.5))])
    sample(fused, seeds=[1], steps=1)
    assert said == ["ask a", "ask b", "wait for a", "wait for b"]
