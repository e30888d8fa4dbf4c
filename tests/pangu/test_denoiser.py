import pytest
import torch

from pangu.denoiser import Conditioning, PredictionType, UNetDenoiser, concatenate, from_x0, to_x0
from pangu.noise_schedule import NoiseSchedule
from pangu.train_step import training_target


@pytest.mark.parametrize("kind", list(PredictionType))
@pytest.mark.parametrize("t", [0, 500, 999])
def test_conversions_undo_each_other_and_agree_with_the_training_target(kind, t):
    schedule = NoiseSchedule()
    x0, noise = torch.randn(2, 2, 3, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    steps = torch.tensor([t, t])
    x_t = schedule.add_noise(x0, noise, steps)
    target = training_target(x0, noise, steps, kind, schedule)
    assert torch.allclose(to_x0(target, x_t, steps, kind, schedule), x0, atol=1e-9)
    assert torch.allclose(from_x0(x0, x_t, t, kind, schedule), target, atol=1e-9)


def test_a_unet_is_a_denoiser_that_listens_to_text_and_bucket(unet_of_seed):
    denoise = UNetDenoiser(unet_of_seed(0).eval(), NoiseSchedule())
    generator = torch.Generator().manual_seed(0)
    x_t = torch.randn((1, 8, 4, 6), generator=generator)
    told = Conditioning(torch.randn((1, 40, 32), generator=generator), torch.ones(1, 48), torch.tensor([3]))
    with torch.no_grad():
        plain = denoise(x_t, 700, told)
        assert plain.shape == x_t.shape
        others = [
            Conditioning(told.tokens + 1, told.pooled, told.bucket),
            Conditioning(told.tokens, told.pooled + 1, told.bucket),
            Conditioning(told.tokens, told.pooled, told.bucket + 1),
        ]
        assert all(not torch.equal(denoise(x_t, 700, other), plain) for other in others)
    assert denoise.num_rows == 4


def test_rows_are_taken_and_joined_in_order():
    told = Conditioning(torch.arange(3.0).reshape(3, 1, 1), torch.arange(3.0).reshape(3, 1), torch.arange(3))
    joined = concatenate([told.rows(slice(2, 3)), told.rows(torch.tensor([0, 1]))])
    assert joined.bucket.tolist() == [2, 0, 1]
    assert len(joined) == 3
