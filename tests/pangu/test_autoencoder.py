import numpy as np
import pytest
import torch

from pangu.autoencoder import (
    decode_latents,
    downsampling_factor,
    encode_pixels,
    fit_scaling_factor,
    to_pixels,
    to_uint8,
)
from pangu.base_training import crop_pictures, train_sample_autoencoder
from pangu.networks import build_sample_autoencoder


def pictures(step, count=8):
    rng = np.random.default_rng(step)
    return np.repeat(np.repeat(rng.integers(0, 256, (count, 4, 4, 3), dtype=np.uint8), 4, axis=1), 4, axis=2)


def test_bytes_survive_the_way_to_pixels_and_back():
    every = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(3, axis=3)
    assert (to_uint8(to_pixels(every)) == every).all()


def test_scaled_latents_have_unit_variance_and_the_scale_is_recorded(tmp_path):
    vae = build_sample_autoencoder()
    pixels = to_pixels(pictures(0))
    factor = fit_scaling_factor(vae, pixels)
    with torch.no_grad():
        assert encode_pixels(vae, pixels).std().item() == pytest.approx(1, rel=1e-4)
    vae.save_pretrained(tmp_path)
    assert type(vae).from_pretrained(tmp_path).config.scaling_factor == factor
    assert downsampling_factor(vae) == 4


def test_training_lowers_the_error():
    losses = []
    vae = train_sample_autoencoder(pictures, steps=40, on_step=lambda step, loss: losses.append(loss))
    assert np.mean(losses[-5:]) < 0.9 * np.mean(losses[:5])
    with torch.no_grad():
        assert decode_latents(vae, encode_pixels(vae, to_pixels(pictures(1)))).shape == (8, 3, 16, 16)
    assert not any(parameter.requires_grad for parameter in vae.parameters())


def test_crops_are_windows_of_their_pictures():
    images = np.arange(2 * 4 * 6 * 3).reshape(2, 4, 6, 3).astype(np.uint8)
    crops = crop_pictures(images, (2, 3), np.random.default_rng(0))
    windows = np.lib.stride_tricks.sliding_window_view(images, (2, 3), axis=(1, 2)).transpose(0, 1, 2, 4, 5, 3)
    for crop, choices in zip(crops, windows, strict=True):
        assert any((crop == window).all() for window in choices.reshape(-1, 2, 3, 3))
    with pytest.raises(ValueError, match="size"):
        crop_pictures(images, (5, 3), np.random.default_rng(0))
