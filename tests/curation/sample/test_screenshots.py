import numpy as np

from curation.sample.screenshots import draw_screenshot


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
