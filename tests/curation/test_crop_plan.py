import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from curation.crop_plan import CropPlan, apply_crop, plan_centre_crop, size_to_cover

sides = st.integers(1, 4000)


@given(sides, sides, sides, sides)
def test_cover_is_tight_and_centred(height: int, width: int, target_height: int, target_width: int) -> None:
    plan = plan_centre_crop((height, width), (target_height, target_width))
    assert plan.resize_height >= target_height
    assert plan.resize_width >= target_width
    assert plan.resize_height == target_height or plan.resize_width == target_width
    assert 0 <= plan.top <= plan.resize_height - plan.height
    assert abs(2 * plan.left + target_width - plan.resize_width) <= 1
    scale = max(target_height / height, target_width / width)
    assert abs(plan.resize_height - height * scale) <= 1
    assert abs(plan.resize_width - width * scale) <= 1


def test_apply_gives_the_size_and_the_centre(make_picture) -> None:
    image = make_picture(0, (100, 60))
    out = apply_crop(image, plan_centre_crop((60, 100), (32, 48)))
    assert out.size == (48, 32)
    same = apply_crop(image, CropPlan(60, 100, 0, 0, 60, 100))
    assert np.array_equal(np.asarray(same), np.asarray(image))


def test_shrinking_is_antialiased() -> None:
    stripes = Image.fromarray(np.tile(np.array([0, 255], np.uint8), (64, 32)))
    small = np.asarray(apply_crop(stripes, plan_centre_crop((64, 64), (8, 8))))
    assert np.abs(small.astype(int) - 127).max() <= 12  # without antialiasing: all 0 or all 255


def test_empty_size_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1x1"):
        size_to_cover((0, 5), (1, 1))
