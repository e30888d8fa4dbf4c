from dataclasses import replace

import pytest

from curation.rejection import Rejection
from curation.rules import Candidate, RuleSettings, first_broken_rule

GOOD = Candidate(width=512, height=512, num_captions=1, similarities=(0.3, 0.2), aesthetic=6.0, unsafe_probability=0.1)
SETTINGS = RuleSettings(
    min_side_px=64, max_aspect=4.0, min_similarity=0.25, min_aesthetic=4.0, max_unsafe_probability=0.5
)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({}, None),
        ({"width": 64, "height": 64}, None),
        ({"width": 63}, Rejection.SIDE_TOO_SHORT),
        ({"width": 2048}, None),
        ({"width": 2049}, Rejection.ASPECT_TOO_EXTREME),
        ({"height": 2049}, Rejection.ASPECT_TOO_EXTREME),
        ({"num_captions": 0, "similarities": ()}, Rejection.NO_CAPTION),
        ({"similarities": (0.24, 0.1)}, Rejection.LOW_SIMILARITY),
        ({"similarities": (0.1, 0.25)}, None),
        ({"aesthetic": 3.9}, Rejection.LOW_AESTHETIC),
        ({"unsafe_probability": 0.51}, Rejection.UNSAFE),
        ({"unsafe_probability": None}, None),
        ({"unsafe_probability": 0.9, "width": 10, "num_captions": 0}, Rejection.UNSAFE),
        ({"width": 10, "num_captions": 0}, Rejection.SIDE_TOO_SHORT),
    ],
)
def test_first_broken_rule(change, reason) -> None:
    assert first_broken_rule(replace(GOOD, **change), SETTINGS) is reason


@pytest.mark.reliability(22)
def test_a_missing_safety_score_stops_the_run_when_one_is_required() -> None:
    settings = SETTINGS.model_copy(update={"require_safety_score": True})
    assert first_broken_rule(GOOD, settings) is None
    with pytest.raises(ValueError, match="no safety score"):
        first_broken_rule(replace(GOOD, unsafe_probability=None), settings)
