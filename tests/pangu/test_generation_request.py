import pytest

from pangu.generation_request import GenerationRequest, row_noise, row_seed
from pangu.time_range import Role


@pytest.mark.parametrize(
    "change",
    [
        {"seed": -1},
        {"steps": 0},
        {"guidance": float("nan")},
        {"texture_guidance": -1.0},
        {"column": "other"},
        {"sampler": "heun"},
        {"guidance_interval": (500, 500)},
        {"guidance_interval": (-1, 500)},
        {"size": (0, 64)},
    ],
)
def test_a_malformed_request_is_refused(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        GenerationRequest.model_validate({"key": "k", "prompt": "p", "seed": 1} | change)


def test_seeds_and_noise_belong_to_the_row_alone():
    assert row_seed("a", 0, 1) == row_seed("a", 0, 1)
    seeds = {row_seed(name, index, run) for name in "ab" for index in range(3) for run in range(3)}
    assert len(seeds) == 18
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert (row_noise(5, (2, 4, 4)) == row_noise(5, (2, 4, 4))).all()


def test_one_scale_serves_both_experts_unless_texture_has_its_own():
    request = GenerationRequest(key="k", prompt="p", seed=1, guidance=6.0)
    assert request.guidance_rule.scales == {Role.STRUCTURE: 6.0, Role.TEXTURE: 6.0}
    other = request.model_copy(update={"texture_guidance": 3.0})
    assert other.guidance_rule.scales == {Role.STRUCTURE: 6.0, Role.TEXTURE: 3.0}
