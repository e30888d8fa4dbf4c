import pytest
from hypothesis import given
from hypothesis import strategies as st

from pangu.time_range import Role, TimeRange, TimeSplit


@given(st.integers(0, 1000), st.integers(0, 999))
def test_the_ranges_tile_the_axis_and_the_current_timestep_decides(boundary, t):
    split = TimeSplit(boundary=boundary)
    owners = [role for role in (Role.STRUCTURE, Role.TEXTURE) if t in split.range_of(role)]
    assert owners == [split.expert_at(t)]
    assert t in split.range_of(Role.SHARED)


def test_the_boundary_itself_belongs_to_structure():
    split = TimeSplit()
    assert split.expert_at(500) is Role.STRUCTURE
    assert split.expert_at(499) is Role.TEXTURE
    assert split.phases([999, 500, 499, 0]) == [(Role.STRUCTURE, [999, 500]), (Role.TEXTURE, [499, 0])]


@pytest.mark.parametrize("t", [-1, 1000, float("nan")])
def test_a_timestep_off_the_axis_is_refused(t):
    with pytest.raises(ValueError, match="t: got"):
        TimeSplit().expert_at(t)


@pytest.mark.parametrize("boundary", [-1, 1001])
def test_a_boundary_off_the_axis_is_refused(boundary):
    with pytest.raises(ValueError, match="boundary"):
        TimeSplit(boundary=boundary)


def test_a_backward_range_is_refused():
    with pytest.raises(ValueError, match="time range"):
        TimeRange(start=5, stop=4)
