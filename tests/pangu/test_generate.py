from operator import attrgetter

import numpy as np
import pytest
import torch

from pangu.errors import RowMemoryError
from pangu.generate import GenerationRequest, Generator, row_seed
from pangu.samplers import DdimSampler, SamplerName
from pangu.time_range import Role

STEPS = 4


def make_requests(samplers=(None,)):
    rows = []
    for index in range(8):
        rows.append(
            GenerationRequest(
                key=f"p{index}/0",
                prompt=["a red ball", "红色的球", "green square"][index % 3],
                seed=row_seed(f"p{index}", 0, 7),
                bucket=[5, 0][index % 2],
                steps=STEPS,
                guidance=[6.0, 3.0][index // 4],
                styles=[{}, {"aesthetic": 4.0}][index % 4 == 3],
                sampler=samplers[index % len(samplers)],
                guidance_interval=[None, (200, 800)][index % 3 == 1],
            )
        )
    return rows


@pytest.mark.reliability(24)
def test_images_are_equal_to_the_bit_whatever_the_batching(pipeline):
    generator = Generator(pipeline, rows_per_batch=3)
    requests = make_requests(list(SamplerName))
    whole = {made.request.key: made for made in generator.generate(requests)}
    shuffled = [requests[i] for i in np.random.default_rng(0).permutation(len(requests))]
    for size in (1, 3, 8):
        for start in range(0, len(shuffled), size):
            for made in generator.generate(shuffled[start : start + size]):
                assert made.sha256 == whole[made.request.key].sha256, (size, made.request)
    assert len({made.sha256 for made in whole.values()}) == len(requests)


def test_images_come_in_order_and_in_the_buckets_size(pipeline):
    requests = make_requests()[:3]
    requests[0] = requests[0].model_copy(update={"column": "texture"})
    made = Generator(pipeline, rows_per_batch=2).generate(requests)
    assert [image.request.key for image in made] == ["p0/0", "p1/0", "p2/0"]
    assert [image.image.shape for image in made] == [(32, 32, 3), (32, 128, 3), (64, 64, 3)]
    assert {image.image.dtype for image in made} == {np.dtype("uint8")}


def test_forty_steps_are_twenty_and_twenty_and_structure_comes_first_for_all(pipeline):
    generator = Generator(pipeline, rows_per_batch=2)
    seen = []
    requests = [r.model_copy(update={"steps": 40}) for r in make_requests()[:2]]
    made = generator.generate(requests, seen.append)
    assert len(seen) == 80
    assert min(seen[:40]) >= 500 > max(seen[40:])
    assert generator._relay.calls == {Role.STRUCTURE: 40, Role.TEXTURE: 40}
    assert [image.steps for image in made] == [{Role.STRUCTURE: 20, Role.TEXTURE: 20}] * 2


def test_each_expert_runs_just_the_timesteps_it_owns_with_every_sampler(pipeline):
    sevenths = [request.model_copy(update={"steps": 7, "bucket": 5}) for request in make_requests()[:4]]
    requests = [row.model_copy(update={"sampler": name}) for row, name in zip(sevenths, SamplerName, strict=True)]
    for image in Generator(pipeline).generate(requests):
        assert image.steps == {Role.STRUCTURE: 4, Role.TEXTURE: 3}


def test_solvers_restart_at_the_hand_over_and_at_the_edges_of_the_interval(pipeline, monkeypatch):
    """Eight steps at 999, 874, 749, 624, | 499, 374, 249, 124; the interval [300, 800) begins and ends within them."""
    restarts = []
    monkeypatch.setattr(DdimSampler, "restart", lambda sampler: restarts.append(sampler))
    plain = make_requests()[0].model_copy(update={"steps": 8})
    for change, count in [({}, 1), ({"guidance_interval": (300, 800)}, 3), ({"steps": 1}, 0)]:
        restarts.clear()
        Generator(pipeline, rows_per_batch=2).generate([plain.model_copy(update=change)])
        assert len(restarts) == count


def test_a_style_of_scale_zero_costs_nothing_and_changes_nothing(pipeline):
    plain = make_requests()[0]
    zero = plain.model_copy(update={"styles": {"aesthetic": 0.0, "cartoon": 0.0}})
    generator = Generator(pipeline, rows_per_batch=2)
    first = generator.generate([plain])[0]
    rows = generator.evaluated_rows[Role.STRUCTURE]
    second = generator.generate([zero])[0]
    assert generator.evaluated_rows[Role.STRUCTURE] == 2 * rows
    assert first.sha256 == second.sha256
    assert first.evaluations == second.evaluations == {Role.STRUCTURE: STEPS, Role.TEXTURE: STEPS}


def test_rows_with_other_styles_share_a_batch_and_each_pays_for_its_own_branches(pipeline):
    """Branches: 2 without a style, 3 with one, 4 with two, 1 at s = 1; 2 + 3 + 3 + 4 + 1 + 2 = 15 of 16 rows."""
    styles = [{}, {"aesthetic": 4.0}, {"cartoon": 1.0}, {"aesthetic": 4.0, "cartoon": 1.0}, {}, {"cartoon": 0.0}]
    requests = [
        make_requests()[0].model_copy(
            update={"key": str(n), "seed": n, "styles": chosen, "guidance": [6.0, 1.0][n == 4]}
        )
        for n, chosen in enumerate(styles)
    ]
    generator = Generator(pipeline, rows_per_batch=8)
    made = generator.generate(requests)
    assert [sum(image.evaluations.values()) / STEPS for image in made] == [2, 3, 3, 4, 1, 2]
    assert generator.evaluated_rows == {Role.STRUCTURE: 16 * STEPS / 2, Role.TEXTURE: 16 * STEPS / 2}
    for request, together in zip(requests, made, strict=True):
        assert generator.generate([request])[0].sha256 == together.sha256, request.styles


def test_guidance_in_an_interval_costs_less_and_counts_only_there(pipeline):
    """Eight steps at 999, 874, ..., 124; four of them in [300, 800)."""
    plain = make_requests()[0].model_copy(update={"steps": 8})
    generator = Generator(pipeline, rows_per_batch=1)
    images = {}
    for interval, rows in [(None, 16), ((300, 800), 12), ((0, 1000), 16), ((0, 10), 8)]:
        before = sum(generator.evaluated_rows.values())
        images[interval] = generator.generate([plain.model_copy(update={"guidance_interval": interval})])[0]
        assert sum(generator.evaluated_rows.values()) - before == rows
        assert sum(images[interval].evaluations.values()) == rows
    unguided = generator.generate([plain.model_copy(update={"guidance": 1.0})])[0]
    assert images[(0, 1000)].sha256 == images[None].sha256
    assert images[(0, 10)].sha256 == unguided.sha256
    assert len({images[(300, 800)].sha256, images[None].sha256, unguided.sha256}) == 3


def test_each_expert_may_have_its_own_scale(pipeline):
    plain = make_requests()[0]
    generator = Generator(pipeline, rows_per_batch=2)
    made = generator.generate([plain, plain.model_copy(update={"texture_guidance": 1.0})])
    assert made[0].sha256 == generator.generate([plain.model_copy(update={"texture_guidance": 6.0})])[0].sha256
    assert made[0].sha256 != made[1].sha256
    assert made[1].evaluations == {Role.STRUCTURE: STEPS, Role.TEXTURE: STEPS / 2}


def test_a_negative_prompt_takes_the_place_of_the_empty_text(pipeline):
    plain = make_requests()[0]
    negative = plain.model_copy(update={"negative": "green square"})
    generator = Generator(pipeline, rows_per_batch=2)
    assert generator.texts_of(negative) == {"null": "green square", "prompt": plain.prompt}
    made = generator.generate([plain, negative])
    assert made[0].sha256 != made[1].sha256


def test_a_hook_that_raises_stops_within_one_step(pipeline):
    seen = []

    def stop(t):
        seen.append(t)
        if len(seen) == 2:
            raise TimeoutError

    with pytest.raises(TimeoutError):
        Generator(pipeline).generate(make_requests(), stop)
    assert len(seen) == 2


def test_an_expert_off_the_device_changes_nothing(pipeline):
    request = make_requests()[:1]
    assert (
        Generator(pipeline).generate(request)[0].sha256
        == Generator(pipeline, offload_inactive_expert=True).generate(request)[0].sha256
    )


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"bucket": 11}, "bucket"),
        ({"styles": {"oil": 1.0}}, "styles"),
        ({"size": (64, 64)}, "size"),
        ({"guidance_interval": (0, 1001)}, "guidance_interval"),
    ],
)
def test_a_request_the_model_cannot_serve_is_refused_by_name(pipeline, change, field):
    request = make_requests()[0].model_copy(update=change)
    with pytest.raises(ValueError, match=field):
        Generator(pipeline).generate([request])


def fail_above(network, rows, message="CUDA out of memory. Tried to allocate 2.00 GiB", side_px=0):
    """The network runs out of memory above this many rows of pictures wider than side_px; returns the sizes asked for."""
    asked = []

    def weigh(module, args):
        if len(args[0]) > rows and args[0].shape[-1] > side_px:
            asked.append(len(args[0]))
            raise (RuntimeError if "CPU" in message else torch.OutOfMemoryError)(message)

    network.register_forward_pre_hook(weigh)
    return asked


@pytest.mark.parametrize("message", ["CUDA out of memory", "[enforce] DefaultCPUAllocator: can't allocate memory"])
@pytest.mark.parametrize("part", ["structure", "texture"])
def test_out_of_memory_halves_the_batch_once_and_the_images_are_those_of_the_smaller_batch(pipeline, part, message):
    requests = [request.model_copy(update={"bucket": 5}) for request in make_requests()]
    expected = Generator(pipeline, rows_per_batch=2).generate(requests)
    asked = fail_above(getattr(pipeline, part), 3, message)
    fail_above(pipeline.vae.decoder, 1, message)
    generator = Generator(pipeline, rows_per_batch=8)
    made = generator.generate(requests)
    assert asked == [8, 4]
    assert generator.reduced == {"denoise 8x16x16": 2, "decode 8x16x16": 1}
    if part == "structure":
        assert [image.sha256 for image in made] == [image.sha256 for image in expected]
        assert {image.batch_rows for image in made} == {(2,)}
        assert {image.decode_rows for image in made} == {(1,)}
    else:
        assert {image.batch_rows for image in made} == {(2, 8)}
    assert generator.generate(requests)[0].batch_rows == (2,)
    assert asked == [8, 4]


def test_a_decoder_short_of_memory_decodes_fewer_at_a_time(pipeline):
    asked = fail_above(pipeline.vae.decoder, 1)
    generator = Generator(pipeline, rows_per_batch=4)
    made = generator.generate(make_requests())
    assert (made[0].batch_rows, made[0].decode_rows) == ((4,), (1,))
    assert asked == [2, 2]
    assert set(generator.reduced) == {"decode 8x16x16", "decode 8x8x32"}


@pytest.mark.parametrize("part", ["structure", "vae.decoder"])
def test_a_row_too_large_alone_is_named_and_the_others_are_made(pipeline, part):
    requests = make_requests()[:4]
    expected = {made.request.key: made.sha256 for made in Generator(pipeline, rows_per_batch=4).generate(requests)}
    fail_above(attrgetter(part)(pipeline), 0, side_px=16)
    generator = Generator(pipeline, rows_per_batch=4)
    with pytest.raises(RowMemoryError, match="p1/0, p3/0") as caught:
        generator.generate(requests)
    assert caught.value.keys == ("p1/0", "p3/0")
    assert {made.request.key: made.sha256 for made in caught.value.made} == {
        key: expected[key] for key in ("p0/0", "p2/0")
    }


def test_any_other_failure_of_a_network_is_not_swallowed(pipeline):
    def fail(module, args):
        raise RuntimeError("shapes differ")

    pipeline.structure.register_forward_pre_hook(fail)
    with pytest.raises(RuntimeError, match="shapes differ"):
        Generator(pipeline).generate(make_requests())
