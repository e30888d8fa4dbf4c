import math

import pytest
import torch

from pangu.bucket_conditioning import added_vector, bucket_sizes, sinusoidal_embedding


def test_the_embedding_is_the_libraries_own_sinusoid():
    from diffusers.models.embeddings import get_timestep_embedding

    index = torch.arange(11)
    expected = get_timestep_embedding(index, 256, flip_sin_to_cos=True, downscale_freq_shift=0)
    assert torch.allclose(sinusoidal_embedding(index), expected, atol=1e-6)
    assert sinusoidal_embedding(torch.tensor([3]))[0, 0].item() == pytest.approx(math.cos(3), abs=1e-6)


def test_rows_are_told_apart_and_joined_to_the_text():
    vector = added_vector(torch.zeros(11, 48), torch.arange(11))
    assert vector.shape == (11, 304)
    assert torch.cdist(vector, vector).add(torch.eye(11) * 9).min() > 1


def test_a_table_with_a_gap_is_refused():
    with pytest.raises(ValueError, match="bucket table"):
        bucket_sizes([{"index": 1, "structure": [64, 64], "texture": [32, 32]}])
