import pytest
import torch

from pangu.networks import FULL_UNET_PARAMETERS, build_sample_autoencoder, build_unet, count_parameters


def test_the_full_network_has_the_released_number_of_parameters():
    with torch.device("meta"):
        assert count_parameters(build_unet("full")) == FULL_UNET_PARAMETERS == 2_565_825_284


def test_the_sample_network_is_small_enough_to_carry_twice():
    with torch.device("meta"):
        assert 4_000_000 < count_parameters(build_unet("sample")) < 5_000_000


def test_every_sample_bucket_passes_through_the_sample_networks(buckets, unet_of_seed):
    unet = unet_of_seed(0).eval()
    with torch.no_grad():
        for row in buckets:
            for height, width in (row.structure, row.texture):
                latents = torch.zeros(1, 8, height // 4, width // 4)
                out = unet(latents, 3, torch.zeros(1, 40, 32), class_labels=torch.zeros(1, 304)).sample
                assert out.shape == latents.shape


def test_the_sample_autoencoder_gives_eight_channels_at_a_quarter_of_the_side():
    vae = build_sample_autoencoder()
    latents = vae.encode(torch.zeros(1, 3, 64, 48)).latents
    assert latents.shape == (1, 8, 16, 12)
    assert vae.decode(latents).sample.shape == (1, 3, 64, 48)


def test_an_unknown_preset_is_refused():
    with pytest.raises(ValueError, match="unet preset"):
        build_unet("huge")
