from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from pangu.fusion import WeightSchedule
from pangu.fusion_request import FusionRequest, Member, MemberRequest, batch_key, fuse
from pangu.latent_bridge import GridSpace, PixelSpace
from pangu.noise_schedule import NoiseSchedule
from pangu.prompted_model import PromptedModel


class HalfSpace(GridSpace):
    channels, factor = 3, 2

    def encode(self, pixels):
        return nn.functional.avg_pool2d(pixels, 2)

    def decode(self, latents):
        return nn.functional.interpolate(latents, scale_factor=2.0)


class GreyModel:
    """Draws the grey that its prompt names, nearer to it the stronger the guidance, tinted by its condition images."""

    default_size = (8, 8)

    def __init__(self, space, num_conditions=0):
        self.space, self.num_conditions = space, num_conditions
        self.batches = []

    def check_size(self, size):
        self.space.shape(size)

    def told(self, rows, size):
        tints = [sum(image.mean() / 255 for image in row.condition_images) for row in rows]
        greys = torch.tensor([float(row.prompt) * row.guidance + tint for row, tint in zip(rows, tints, strict=True)])

        def denoise(x_t, t):
            self.batches.append(len(x_t))
            return greys[:, None, None, None] * 0.5 + 0.3 * x_t.tanh()

        return PromptedModel(denoise, self.space, NoiseSchedule(), size)


@pytest.fixture
def members():
    return {
        "first": Member("first", GreyModel(PixelSpace()), guidance=1.0),
        "second": Member("second", GreyModel(HalfSpace(), num_conditions=1), weight=WeightSchedule.constant(0.5)),
    }


def sketch(level, size=(8, 8)):
    return np.full((*size, 3), level, np.uint8)


def ask(seed=0, first="0.2", second="-0.4", **change):
    parts = (MemberRequest("first", first), MemberRequest("second", second, condition_images=(sketch(40),)))
    return replace(FusionRequest(parts, seed=seed, steps=4), **change)


def test_a_picture_is_the_same_alone_and_in_any_company(members):
    requests = [ask(0), ask(1, "0.9"), ask(2, second="0.1"), ask(3, steps=3), ask(4)]
    alone = [fuse(members, [request], rows_per_batch=3)[0] for request in requests]
    together = fuse(members, requests, rows_per_batch=3)
    assert all((one == other).all() for one, other in zip(alone, together, strict=True))
    assert len({image.tobytes() for image in alone}) == 5
    assert set(members["first"].model.batches) == {3}


def test_requests_that_differ_in_more_than_words_do_not_step_together(members):
    keys = {
        batch_key(members, request)
        for request in (
            ask(),
            ask(steps=5),
            ask(size=(16, 16)),
            ask(bridge_every=2),
            ask(members=(replace(ask().members[0], guidance=2.0), ask().members[1])),
            ask(members=(ask().members[0], replace(ask().members[1], weight=WeightSchedule.constant(0.1)))),
            ask(members=(ask().members[0], replace(ask().members[1], size=(16, 16)))),
        )
    }
    assert len(keys) == 7
    other = replace(ask().members[1], condition_images=(sketch(90),))
    assert batch_key(members, ask(9, "0.5", members=(ask().members[0], other))) == batch_key(members, ask())


def test_defaults_are_the_members_own(members):
    parts = ask().members
    said = (
        replace(parts[0], guidance=1.0),
        replace(parts[1], guidance=3.0, weight=WeightSchedule.constant(0.5), condition_scales=(1.0,)),
    )
    assert (fuse(members, [ask()])[0] == fuse(members, [ask(members=said)])[0]).all()
    assert fuse(members, [ask()])[0].shape == (8, 8, 3)
    assert fuse(members, [ask(size=(16, 24))])[0].shape == (16, 24, 3)


def test_the_first_member_alone_is_a_fusion_too(members):
    image = fuse(members, [FusionRequest((MemberRequest("first", "0.2"),), seed=3, steps=4)])[0]
    silent = ask(3, members=(ask().members[0], replace(ask().members[1], weight=WeightSchedule.constant(0.0))))
    assert (fuse(members, [silent])[0] == image).all()
    assert members["second"].model.batches == []


def test_steps_are_told_and_a_hook_cancels(members):
    seen = []
    fuse(members, [ask()], lambda step, total, preview: seen.append((step, total, preview().shape)))
    assert seen == [(step, 4, (1, 8, 8, 3)) for step in (1, 2, 3, 4)]

    def cancel(step, total, preview):
        raise InterruptedError

    with pytest.raises(InterruptedError):
        fuse(members, [ask()], cancel)


def test_pictures_become_condition_images_by_the_members_detectors(members):
    inverse = {**members, "second": replace(members["second"], detectors=(lambda picture: 255 - picture,))}
    ready, picture = ask().members[1], replace(ask().members[1], condition_images=(sketch(215),), detect=True)
    found = fuse(inverse, [ask(members=(ask().members[0], picture)), ask(members=(ask().members[0], ready))])
    assert (found[0] == found[1]).all()
    assert (found[0] != fuse(members, [ask(members=(ask().members[0], replace(picture, detect=False)))])[0]).any()


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (ask(members=()), "^members: got none"),
        (ask(steps=0), "^steps: got 0"),
        (ask(seed=-1), "^seed: got -1"),
        (ask(bridge_every=0), "^bridge_every: got 0"),
        (ask(size=(7, 8)), r"^members\[1\].size: got \(7, 8\)"),
        (
            ask(members=(MemberRequest("third"),)),
            r"^members\[0\].name: got 'third', expected one of \['first', 'second'\]",
        ),
        (
            ask(members=(MemberRequest("first", "1", weight=WeightSchedule.constant(1.0)),)),
            r"^members\[0\].weight: got one",
        ),
        (ask(members=(MemberRequest("first", "1", guidance=-1.0),)), r"^members\[0\].guidance: got -1"),
        (ask(members=(MemberRequest("second", "1"),)), r"^members\[0\].condition_images: got 0, expected 1 for second"),
        (
            ask(members=(MemberRequest("second", "1", condition_images=(sketch(1)[..., 0],)),)),
            r"^members\[0\].condition_images: got \(8, 8\) uint8",
        ),
        (
            ask(members=(replace(ask().members[1], detect=True),)),
            r"^members\[0\].detect: got true, expected false: second has no detector",
        ),
        (
            ask(members=(replace(ask().members[1], condition_scales=(1.0, 2.0)),)),
            r"^members\[0\].condition_scales: got 2",
        ),
    ],
)
def test_a_request_that_cannot_be_made_is_refused_by_name(members, request_, message):
    with pytest.raises(ValueError, match=message):
        fuse(members, [ask(), request_])
    assert members["first"].model.batches == []
