import re

from curation.rejection import Rejection


def test_codes_are_words_and_each_has_one_line() -> None:
    assert len({reason.meaning for reason in Rejection}) == len(Rejection)
    for reason in Rejection:
        assert re.fullmatch(r"[a-z0-9_]+", reason.value)
        assert reason.value == reason.name.lower() == str(reason)
        assert 10 < len(reason.meaning) < 100
        assert Rejection(reason.value) is reason
