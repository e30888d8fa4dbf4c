import numpy as np
import pytest
from PIL import Image

from curation.sample.stylised import FILTERS, stylise


@pytest.mark.parametrize("apply", FILTERS)
@pytest.mark.parametrize("seed", range(3))
def test_a_filter_changes_the_photograph_and_keeps_what_stands_where(apply, seed):
    rng = np.random.default_rng(5)
    ramp = np.linspace(0, 255, 64, dtype=np.float32)
    photograph = Image.fromarray(
        (ramp[None, :, None] * np.ones((64, 1, 3)) + rng.normal(0, 12, (64, 64, 3))).clip(0, 255).astype("uint8")
    )
    filtered = apply(photograph, np.random.default_rng(seed))
    assert filtered.size == photograph.size and filtered.mode == "RGB"
    assert filtered.tobytes() != photograph.tobytes()
    before, after = (np.asarray(image.convert("L"), np.float32).ravel() for image in (photograph, filtered))
    assert np.corrcoef(before, after)[0, 1] > 0.6


def test_every_filter_has_its_turn():
    photograph = Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8))
    made = {stylise(photograph, np.random.default_rng(seed)).tobytes() for seed in range(40)}
    assert len(made) > len(FILTERS)
