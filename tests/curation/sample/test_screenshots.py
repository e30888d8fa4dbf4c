import numpy as np
import pytest
from PIL import Image

from curation.sample.screenshots import draw_screenshot
from curation.sample.stylised import stylise


def test_screens_follow_the_seed_and_differ_from_each_other():
    one, again = (draw_screenshot(np.random.default_rng(3)) for _ in range(2))
    assert one.size == (160, 160) and one.tobytes() == again.tobytes()
    rng = np.random.default_rng(0)
    screens = {draw_screenshot(rng).tobytes() for _ in range(20)}
    assert len(screens) == 20


def test_a_screen_is_mostly_one_paper_with_ink_on_it():
    rng = np.random.default_rng(1)
    for _ in range(20):
        pixels = np.asarray(draw_screenshot(rng)).reshape(-1, 3)
        _, counts = np.unique(pixels, axis=0, return_counts=True)
        assert counts.max() / len(pixels) > 0.25
        assert len(counts) > 20


@pytest.mark.parametrize("seed", range(10))
def test_a_filter_changes_the_photograph_and_keeps_what_stands_where(seed):
    rng = np.random.default_rng(5)
    ramp = np.linspace(0, 255, 64, dtype=np.float32)
    photograph = Image.fromarray(
        (ramp[None, :, None] * np.ones((64, 1, 3)) + rng.normal(0, 12, (64, 64, 3))).clip(0, 255).astype("uint8")
    )
    filtered = stylise(photograph, np.random.default_rng(seed))
    assert filtered.size == photograph.size and filtered.mode == "RGB"
    assert filtered.tobytes() != photograph.tobytes()
    before, after = (np.asarray(image.convert("L"), np.float32).ravel() for image in (photograph, filtered))
    assert np.corrcoef(before, after)[0, 1] > 0.6
