import numpy as np
import pytest
import torch

from pangu.condition_detectors import canny, make_detector
from tests.pangu.small_pipelines import make_depth_estimator


@pytest.fixture(scope="module")
def depth_folder(tmp_path_factory):
    """A small depth model with random weights, as transformers saves one."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("depth")
    for part in make_depth_estimator():
        part.save_pretrained(folder)
    return folder


def square():
    picture = np.full((64, 96, 3), 30, np.uint8)
    picture[16:48, 32:64] = (220, 60, 20)
    return picture


def test_canny_draws_the_outline_white_on_black():
    edges = canny(square())
    assert edges.shape == (64, 96, 3) and edges.dtype == np.uint8
    assert set(np.unique(edges)) == {0, 255}
    assert edges[20:44, 36:60].max() == 0 and edges[:10].max() == 0, "nothing inside, nothing outside"
    rows, columns = np.nonzero(edges[:, :, 0])
    assert 14 <= rows.min() <= 17 and 46 <= rows.max() <= 49 and 30 <= columns.min() <= 33 and 62 <= columns.max() <= 65
    assert (edges[..., 0] == edges[..., 2]).all()


def test_depth_is_spread_over_all_greys(depth_folder):
    detect = make_detector(f"depth={depth_folder.name}", depth_folder.parent)
    found = detect(square())
    assert found.shape == (64, 96, 3) and found.dtype == np.uint8
    assert found.min() == 0 and found.max() == 255 and (found[..., 0] == found[..., 1]).all()
    assert np.array_equal(found, detect(square()))
    other = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    assert np.abs(found.astype(int) - detect(other)).max() > 5, "it looks at the picture"


@pytest.mark.parametrize("said", ["hed", "depth", "depth="])
def test_other_detectors_are_refused_with_what_there_is(said, tmp_path):
    with pytest.raises(ValueError, match=f"detectors: got '{said}', accepted are canny, depth=FOLDER"):
        make_detector(said, tmp_path)


def test_a_folder_without_a_depth_model_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"detectors: .* is no depth-estimation model"):
        make_detector("depth=.", tmp_path)


def test_ready_images_need_no_detector(tmp_path):
    assert make_detector("ready", tmp_path) is None
