import numpy as np
import pytest
from scipy import stats

from pangu.evaluation.model_comparison import GatePolicy, decide_gate, paired_difference, unpaired_difference

PROMPTS = 60
WANTED = ("clip_score", "aesthetic", "kid")


def two_models(rng, shift=0.0):
    """Scores by prompt of two models whose prompts differ far more than they do."""
    prompts = rng.standard_normal(PROMPTS) * 8.0
    return [
        {f"p{row}": float(value) for row, value in enumerate(prompts + rng.standard_normal(PROMPTS) * 0.5 + gap)}
        for gap in (0.0, shift)
    ]


def differences(rng, **shifts):
    found = [paired_difference(name, *two_models(rng, shifts.get(name, 0.0))) for name in ("clip_score", "aesthetic")]
    kid = 0.05 + 0.002 * rng.standard_normal(2) + np.array([0.0, shifts.get("kid", 0.0)])
    return [*found, unpaired_difference("kid", (kid[0], 0.002), (kid[1], 0.002))]


def test_the_paired_difference_is_that_of_the_prompts_both_have():
    champion, candidate = two_models(np.random.default_rng(0), shift=0.4)
    candidate["only here"] = 1e9
    found = paired_difference("clip_score", champion, candidate)
    paired = np.array([candidate[key] - champion[key] for key in champion])
    assert found.value == pytest.approx(paired.mean()) and found.num_pairs == PROMPTS
    assert found.low < paired.mean() < found.high
    expected = stats.ttest_1samp(paired, 0.0, alternative="greater").pvalue
    assert found.p_higher == pytest.approx(expected) and found.p_lower == pytest.approx(1 - expected)
    assert found.p_better() == found.p_higher and found.p_worse() == found.p_lower
    assert paired_difference("clip_score", champion, {"p0": 1.0}) is None


def test_of_a_distance_lower_is_better():
    found = unpaired_difference("kid", (0.05, 0.003), (0.04, 0.004))
    assert found.value == pytest.approx(-0.01) and found.high - found.low == pytest.approx(2 * 1.96 * 0.005, rel=1e-3)
    assert found.p_better() == pytest.approx(stats.norm.cdf(-2.0)) and found.num_pairs == 0


def test_models_that_are_equal_bit_for_bit_differ_in_nothing():
    champion, _ = two_models(np.random.default_rng(1))
    found = paired_difference("clip_score", champion, dict(champion))
    assert (found.value, found.low, found.high, found.p_higher, found.p_lower) == (0.0, 0.0, 0.0, 1.0, 1.0)
    always = paired_difference("clip_score", champion, {key: value + 1.0 for key, value in champion.items()})
    assert always.p_higher < 1e-12


def test_equal_models_are_called_unlike_as_rarely_as_stated():
    rng, trials, rate = np.random.default_rng(2), 600, 0.05
    found = [decide_gate(GatePolicy.IF_NOT_WORSE, WANTED, differences(rng), rate=rate) for _ in range(trials)]
    for verdicts in ([gate.worse for gate in found], [gate.better for gate in found]):
        assert sum(map(bool, verdicts)) <= stats.binom.isf(0.001, trials, rate)


@pytest.mark.parametrize(
    ("policy", "shifts", "is_promotion", "why"),
    [
        ("if_not_worse", {}, True, "Nothing is significantly worse"),
        ("if_not_worse", {"aesthetic": -1.0}, False, "Significantly worse: aesthetic"),
        ("if_not_worse", {"kid": 0.05}, False, "Significantly worse: kid"),
        ("if_better", {}, False, "Nothing is significantly better"),
        ("if_better", {"clip_score": 1.0}, True, "better: clip_score"),
        ("if_better", {"clip_score": 1.0, "kid": 0.05}, False, "Significantly worse: kid"),
        ("off", {"clip_score": 1.0}, False, "The gate is off"),
    ],
)
def test_the_gate_follows_its_policy(policy, shifts, is_promotion, why):
    found = decide_gate(GatePolicy(policy), WANTED, differences(np.random.default_rng(3), **shifts), rate=0.01)
    assert found.is_promotion is is_promotion and why in found.why and found.policy == policy


def test_what_was_not_compared_keeps_the_champion():
    some = differences(np.random.default_rng(3), clip_score=1.0)[:2]
    found = decide_gate(GatePolicy.IF_NOT_WORSE, WANTED, some, rate=0.01)
    assert not found.is_promotion and found.why == "Not compared: kid."
    same = decide_gate(GatePolicy.IF_NOT_WORSE, WANTED, some, rate=0.01, is_same_model=True)
    assert not same.is_promotion and same.why == "The candidate is the champion."
    with pytest.raises(ValueError, match="gate_metrics: received cartoon_rate"):
        decide_gate(GatePolicy.OFF, ("cartoon_rate",), [], rate=0.01)
