import pytest

from curation.errors import ConservationError
from curation.funnel import Funnel, count_funnel


@pytest.mark.reliability(7)
def test_a_lost_record_is_an_error() -> None:
    reasons = [None] * 963 + ["undecodable"] * 37
    funnel = count_funnel(1000, reasons, {"style": ["other"] * 1000})
    assert (funnel.kept, funnel.dropped, funnel.kept_by) == (963, {"undecodable": 37}, {"style": {"other": 963}})
    with pytest.raises(ConservationError, match="1000 records went in, but 963 were kept and 36 dropped"):
        count_funnel(1000, reasons[:-1])
    with pytest.raises(ConservationError, match="add up to 962"):
        Funnel(963, 963, {}, {"style": {"other": 962}})
    with pytest.raises(ConservationError, match="unknown reasons: whim"):
        Funnel(1, 0, {"whim": 1})


def test_parts_add_up() -> None:
    first = count_funnel(3, [None, None, "unsafe"], {"bucket": [1, 2, None]})
    second = count_funnel(2, [None, "no_caption"], {"bucket": [2, None]})
    both = first + second
    assert (both.taken, both.kept, both.dropped) == (5, 3, {"no_caption": 1, "unsafe": 1})
    assert both.kept_by == {"bucket": {"1": 1, "2": 2}}
