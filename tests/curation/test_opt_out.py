"""Every form in which an owner reserves a picture, and every near miss."""

import json

import pytest

from curation.opt_out import OptOutPolicy, find_opt_out, opt_out_evidence

POLICY = OptOutPolicy(robot="ourbot")
R, T, U = "X-Robots-Tag", "TDM-Reservation", "Content-Usage"

CASES = [
    # (headers, reserved?)
    ([], False),
    ([(R, "")], False),
    ([(R, "all")], False),
    ([(R, "noai")], True),
    ([(R, "noimageai")], True),
    ([(R, "NOAI")], True),
    ([("x-robots-tag", "NoAi")], True),
    ([(R, " noai ")], True),
    ([(R, "noindex")], True),
    ([(R, "noimageindex")], True),
    ([(R, "none")], True),
    ([(R, "nofollow")], False),
    ([(R, "noarchive, nosnippet")], False),
    ([(R, "nofollow, noai")], True),
    ([(R, "nofollow,noai")], True),
    ([(R, "noai, nofollow")], True),
    ([(R, "noaiplease")], False),
    ([(R, "xnoai")], False),
    # repeated headers
    ([(R, "nofollow"), (R, "noai")], True),
    ([(R, "noai"), (R, "all")], True),
    ([(R, "otherbot: noai"), (R, "nofollow")], False),
    ([(R, "otherbot: nofollow"), (R, "noai")], True),
    # robot-scoped
    ([(R, "ourbot: noai")], True),
    ([(R, "OurBot: NOAI")], True),
    ([(R, "ourbot:noai")], True),
    ([(R, "ourbot : noai")], True),
    ([(R, "otherbot: noai")], False),
    ([(R, "otherbot: nofollow, noai")], False),
    ([(R, "otherbot: noai, ourbot: nofollow")], False),
    ([(R, "otherbot: nofollow, ourbot: noai")], True),
    ([(R, "ourbot: nofollow, noai")], True),
    ([(R, "*: noai")], True),
    ([(R, "noai, otherbot: nofollow")], True),
    ([(R, "ourbot2: noai")], False),
    # a colon in an earlier directive
    ([(R, "unavailable_after: 25 Jun 2030 15:00:00 PST, noai")], True),
    ([(R, "unavailable_after: Friday, 25-Jun-30 15:00:00 GMT, noai")], True),
    ([(R, "unavailable_after: 2030-06-25T15:00:00Z, noai")], True),
    ([(R, "unavailable_after: 25 Jun 2030 15:00:00 PST")], False),
    ([(R, "max-snippet: 20, noai")], True),
    ([(R, "max-image-preview: large, max-video-preview: -1, noai")], True),
    ([(R, "max-image-preview: none")], False),
    ([(R, "ourbot: unavailable_after: 25 Jun 2030 15:00:00 PST, noai")], True),
    ([(R, "otherbot: unavailable_after: 25 Jun 2030 15:00:00 PST, noai")], False),
    ([(R, "otherbot: max-snippet: 5, ourbot: noai")], True),
    ([(R, "noai: yes")], False),
    ([(R, ": noai")], True),
    ([(R, ",,, noai ,")], True),
    # TDM Reservation Protocol
    ([(T, "1")], True),
    ([("tdm-reservation", " 1 ")], True),
    ([(T, "0")], False),
    ([(T, "0"), (T, "1")], True),
    ([(T, "10")], False),
    ([(T, "true")], False),
    ([(T, "1"), ("TDM-Policy", "https://example.com/policy.json")], True),
    ([("TDM-Policy", "https://example.com/policy.json")], False),
    # IETF preferences
    ([(U, "train-ai=n")], True),
    ([(U, "search=y, train-ai=n")], True),
    ([(U, "Train-AI=N")], True),
    ([(U, "train-ai=y")], False),
    ([(U, "train-ai")], False),
    ([("X-Other", "noai")], False),
]


def test_there_are_at_least_forty_cases() -> None:
    assert len(CASES) >= 40


@pytest.mark.reliability(21)
@pytest.mark.parametrize(("headers", "is_reserved"), CASES)
def test_header_table(headers, is_reserved: bool) -> None:
    assert (find_opt_out(headers, POLICY) is not None) is is_reserved


@pytest.mark.reliability(21)
def test_evidence_keeps_repeated_values_in_order() -> None:
    evidence = json.loads(opt_out_evidence([(R, "nofollow"), ("Server", "x"), ("x-robots-tag", "noai"), (T, "0")]))
    assert evidence == {"x-robots-tag": ["nofollow", "noai"], "tdm-reservation": ["0"]}
    assert opt_out_evidence([("Server", "x")]) == "{}"


def test_directives_are_a_setting() -> None:
    policy = OptOutPolicy(directives=frozenset({"noai"}), honour_tdm=False, honour_content_usage=False)
    assert find_opt_out([(R, "noindex"), (T, "1"), (U, "train-ai=n")], policy) is None
