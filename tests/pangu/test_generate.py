import numpy as np
import pytest

from pangu.generate import GenerationRequest, Generator, row_noise, row_seed
from pangu.time_range import Role

STEPS = 4


def make_requests():
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
            )
        )
    return rows


@pytest.mark.reliability(24)
def test_images_are_equal_to_the_bit_whatever_the_batching(pipeline):
    generator = Generator(pipeline, rows_per_batch=3)
    requests = make_requests()
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
    generator = Generator(pipeline, rows_per_batch=1)
    seen = []
    requests = [r.model_copy(update={"steps": 40}) for r in make_requests()[:2]]
    generator.generate(requests, seen.append)
    assert len(seen) == 80
    assert min(seen[:40]) >= 500 > max(seen[40:])
    assert generator._relay.calls == {Role.STRUCTURE: 40, Role.TEXTURE: 40}


def test_a_style_of_scale_zero_costs_nothing_and_changes_nothing(pipeline):
    plain = make_requests()[0]
    zero = plain.model_copy(update={"styles": {"aesthetic": 0.0, "cartoon": 0.0}})
    generator = Generator(pipeline, rows_per_batch=2)
    first = generator.generate([plain])[0]
    rows = generator._relay.experts[Role.STRUCTURE].num_rows
    second = generator.generate([zero])[0]
    assert generator._relay.experts[Role.STRUCTURE].num_rows == 2 * rows
    assert first.sha256 == second.sha256


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


@pytest.mark.parametrize(("change", "field"), [({"bucket": 11}, "bucket"), ({"styles": {"oil": 1.0}}, "styles")])
def test_a_request_the_model_cannot_serve_is_refused_by_name(pipeline, change, field):
    request = make_requests()[0].model_copy(update=change)
    with pytest.raises(ValueError, match=field):
        Generator(pipeline).generate([request])


@pytest.mark.parametrize("change", [{"seed": -1}, {"steps": 0}, {"guidance": float("nan")}, {"column": "other"}])
def test_a_malformed_request_is_refused(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        GenerationRequest.model_validate({"key": "k", "prompt": "p", "seed": 1} | change)


def test_seeds_and_noise_belong_to_the_row_alone():
    assert row_seed("a", 0, 1) == row_seed("a", 0, 1)
    seeds = {row_seed(name, index, run) for name in "ab" for index in range(3) for run in range(3)}
    assert len(seeds) == 18
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert (row_noise(5, (2, 4, 4)) == row_noise(5, (2, 4, 4))).all()
