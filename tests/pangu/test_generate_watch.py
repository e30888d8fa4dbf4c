"""Whoever watches a generation sees every step, and can give up rows without changing those beside them."""

import numpy as np
import pytest

from pangu.generate import GenerationRequest, Generator
from pangu.time_range import Role

STEPS = 6


@pytest.fixture
def generator(pipeline):
    return Generator(pipeline, rows_per_batch=2)


def requests_of(*keys):
    return [GenerationRequest(key=key, prompt=f"a {key}", seed=n, steps=STEPS) for n, key in enumerate(keys)]


def test_every_step_is_told_once_with_what_the_models_expect(generator):
    seen = []
    made = generator.generate(requests_of("ball", "star"), watch=lambda progress: seen.append(progress) or ())
    assert [(p.step, p.steps, p.keys) for p in seen] == [(s, STEPS, ("ball", "star")) for s in range(1, STEPS + 1)]
    last = generator.preview(seen[-1].x0[1])
    assert last.shape == made[1].image.shape and np.abs(last.astype(int) - made[1].image).max() <= 1


def test_a_row_given_up_takes_no_further_step_and_leaves_the_others_as_they_were(generator):
    requests = requests_of("ball", "star", "box")
    whole = {made.request.key: made.image for made in generator.generate(requests)}
    before = generator.evaluated_rows
    made = generator.generate(requests, watch=lambda progress: ["star"] if progress.step >= 2 else [])
    assert [image.request.key for image in made] == ["ball", "box"]
    assert all(np.array_equal(image.image, whole[image.request.key]) for image in made)
    spent = sum(generator.evaluated_rows.values()) - sum(before.values())
    assert spent == 2 * 3 * 2 + 4 * 2 * 2  # two branches of three rows for two steps, then of two rows


def test_when_all_is_given_up_nothing_is_decoded_and_no_step_follows(generator):
    steps = []

    def leave(progress):
        steps.append(progress.step)
        return progress.keys

    assert generator.generate(requests_of("ball", "star"), watch=leave) == []
    assert steps == [1]
    assert Role.TEXTURE not in generator.evaluated_rows
