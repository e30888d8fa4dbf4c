import dataclasses
from datetime import date, timedelta

import numpy as np
import pytest
from scipy import stats

from pangu.evaluation.night_test import detectable_shift
from pangu.evaluation.regression import AlarmSettings, NightValue, alarm_history, regression_alarms
from pangu.evaluation.set_card import SetCard

CARD = SetCard("judge", "ab" * 32, "bicubic-64", "png", num_images=500, seed=7, content="prompts-v1")
METRICS = (("kid", 0.05, 0.002), ("clip_score", 31.0, 0.3), ("aesthetic", 5.4, 0.05), ("cartoon_rate", 0.3, 0.02))


def night_name(index: int) -> str:
    return (date(2026, 11, 1) + timedelta(days=index)).isoformat()


def quiet_nights(count: int, *, seed: int = 0, first: int = 0) -> list[NightValue]:
    rng = np.random.default_rng(seed)
    return [
        NightValue(night_name(first + night), metric, stratum, mean + spread * rng.standard_normal(), CARD)
        for night in range(count)
        for metric, mean, spread in METRICS
        for stratum in ("all", "style=cartoon")
    ]


def shift(values: list[NightValue], night: int, metric: str, by: float) -> list[NightValue]:
    return [
        dataclasses.replace(value, value=value.value + by)
        if (value.night, value.metric) == (night_name(night), metric)
        else value
        for value in values
    ]


def alarms(rows) -> set[tuple[str, str, str]]:
    return {(row.night, row.metric, row.stratum) for row in rows if row.is_alarm}


def test_fourteen_nights_flag_the_planted_one_and_no_other():
    history = shift(quiet_nights(14), 10, "clip_score", by=-3.0)
    expected = {(night_name(10), "clip_score", stratum) for stratum in ("all", "style=cartoon")}
    assert alarms(alarm_history(history)) == expected
    row = next(row for row in alarm_history(history) if row.is_alarm)
    assert row.effect == pytest.approx(-3.0, abs=1.0) and row.adjusted_p <= 0.01 and row.num_nights == 10
    assert row.value < row.low and row.high is None and row.extractor == "judge@abababababab (bicubic-64)"


def test_the_walk_over_quiet_nights_alarms_as_stated():
    rate, count = 0.02, 2_500
    rows = alarm_history(quiet_nights(count), AlarmSettings(false_positive_rate=rate))
    decided = {row.night for row in rows if row.p_value is not None}
    flagged = {row.night for row in rows if row.is_alarm}
    assert len(decided) == count - 5
    # Windows overlap, so nights are not independent: the bounds are those of a quarter of the nights.
    low, high = stats.binom.interval(0.999, count // 4, rate)
    assert low <= len(flagged) / 4 <= high, len(flagged) / count


def test_the_order_of_computing_and_later_nights_change_nothing():
    history = shift(quiet_nights(14), 10, "kid", by=0.05)
    shuffled = [history[index] for index in np.random.default_rng(0).permutation(len(history))]
    assert alarm_history(shuffled) == alarm_history(history)
    tonight = regression_alarms(history, night_name(10))
    assert tonight == regression_alarms([value for value in history if value.night <= night_name(10)], night_name(10))
    assert tonight == [row for row in alarm_history(history) if row.night == night_name(10)]


def test_a_bad_night_does_not_hide_the_next():
    history = shift(shift(quiet_nights(12), 9, "kid", by=0.05), 10, "kid", by=0.05)
    assert {night for night, _, _ in alarms(alarm_history(history))} == {night_name(9), night_name(10)}


def test_nights_of_other_settings_are_no_baseline_and_are_named():
    history = quiet_nights(8)
    marked = dataclasses.replace(CARD, marks="trustmark", image_format="jpeg-95")
    tonight = [dataclasses.replace(value, card=marked, value=9e9) for value in quiet_nights(1, first=8)]
    rows = regression_alarms([*history, *tonight], night_name(8))
    assert not alarms(rows) and all(row.p_value is None for row in rows)
    assert all("Left out: 8 nights that differ in image_format, marks." in row.note for row in rows)


def test_nights_measured_by_two_networks_are_missing_in_neither():
    other = dataclasses.replace(CARD, extractor="mobilenet", fingerprint="cd" * 32, resize_mode="bilinear-224")

    def by(card: SetCard, count: int, first: int = 0) -> list[NightValue]:
        return [dataclasses.replace(value, card=card) for value in quiet_nights(count, first=first)]

    def notes(values: list[NightValue], night: int, card: SetCard) -> set[str]:
        rows = regression_alarms(values, night_name(night))
        return {row.note for row in rows if row.extractor.startswith(card.extractor)}

    both = [*by(CARD, 8), *by(other, 8)]
    for card in (CARD, other):
        assert notes(both, 7, card) == {""}
        marked = dataclasses.replace(card, marks="trustmark")
        said = notes([*both, *by(marked, 1, 8), *by(CARD if card is other else other, 1, 8)], 8, card)
        assert said == {
            "Nothing decided: 0 earlier nights of the same settings, 5 needed. Left out: 8 nights that differ in marks."
        }
    assert notes([*both, *by(CARD, 1, 8)], 8, CARD) == {""}, "the other network has gone, no night of this one has"
    changed = notes([*by(CARD, 8), *by(other, 1, 8)], 8, other)
    assert all("Left out: 8 nights that differ in extractor, fingerprint, resize_mode." in note for note in changed)
    joined = notes([*by(CARD, 9), *by(other, 1, 8)], 8, other)
    assert joined == {"Nothing decided: 0 earlier nights of the same settings, 5 needed."}


def per_prompt(night: int, *, gap: float = 0.0, missing: int | None = None) -> NightValue:
    rng = np.random.default_rng(night)
    prompts = np.random.default_rng(99).standard_normal(200) * 8.0 + 30.0
    found = prompts + rng.standard_normal(200) * 0.5 + gap
    values = {f"p{row}": float(value) for row, value in enumerate(found) if row != missing}
    return NightValue(night_name(night), "clip_score", "all", float(np.mean(list(values.values()))), CARD, 0.5, values)


def test_pairing_by_prompt_finds_what_unpaired_nights_hide():
    # 0.25 is half the standard error of a night's mean over prompts, and seven times that of its paired difference.
    nights = [per_prompt(night) for night in range(10)]
    paired = regression_alarms([*nights, per_prompt(10, gap=-0.25)], night_name(10))[0]
    assert paired.is_alarm and paired.num_pairs == 200
    blind = [dataclasses.replace(value, per_prompt=None) for value in [*nights, per_prompt(10, gap=-0.25)]]
    assert not regression_alarms(blind, night_name(10))[0].is_alarm


PROMPTS, PAIRED_NIGHTS, RATE = 24, 8, 0.01
PROMPT_SPREAD, OWN_NOISE = 8.0, 0.5
NIGHT_SPREAD = OWN_NOISE / PROMPTS**0.5
"""Prompts differ far more than a model does from night to night, half of which is each picture's own noise."""


def paired_walk(count: int, rng: np.random.Generator, *, last: float = 0.0) -> list[NightValue]:
    """Nights of one prompt list, the last of them shifted."""
    prompts = rng.standard_normal(PROMPTS) * PROMPT_SPREAD
    found = prompts + rng.standard_normal((count, PROMPTS)) * OWN_NOISE
    found += rng.standard_normal((count, 1)) * NIGHT_SPREAD
    found[-1] += last
    return [
        NightValue(f"{night:05d}", "clip_score", "all", float(row.mean()), CARD, PROMPT_SPREAD / PROMPTS**0.5, values)
        for night, row in enumerate(found)
        for values in [{f"p{index}": float(value) for index, value in enumerate(row)}]
    ]


def test_a_shift_of_the_stated_size_is_found_in_paired_nights_and_hidden_in_unpaired_ones():
    settings, trials = AlarmSettings(RATE, window=PAIRED_NIGHTS, min_nights=PAIRED_NIGHTS), 250
    between = (NIGHT_SPREAD**2 + OWN_NOISE**2 / PROMPTS) ** 0.5
    shift = between * detectable_shift(false_positive_rate=RATE, num_tests=1, num_nights=PAIRED_NIGHTS, power=0.93)
    assert shift < 0.5 * PROMPT_SPREAD / PROMPTS**0.5, "below half the standard error of a night's mean over prompts"
    rng = np.random.default_rng(5)
    walks = [paired_walk(PAIRED_NIGHTS + 1, rng, last=-shift) for _ in range(trials)]
    rows = [regression_alarms(walk, walk[-1].night, settings)[0] for walk in walks]
    assert all(row.num_pairs == PROMPTS for row in rows)
    assert sum(row.is_alarm for row in rows) >= stats.binom.ppf(0.001, trials, 0.9)
    blind = [[dataclasses.replace(value, per_prompt=None) for value in walk] for walk in walks[:50]]
    assert sum(regression_alarms(walk, walk[-1].night, settings)[0].is_alarm for walk in blind) <= 5


def test_quiet_paired_nights_alarm_as_stated():
    settings, count = AlarmSettings(0.02, window=PAIRED_NIGHTS, min_nights=PAIRED_NIGHTS), 1_200
    rows = alarm_history(paired_walk(count, np.random.default_rng(6)), settings)
    decided = [row for row in rows if row.p_value is not None]
    assert len(decided) == count - PAIRED_NIGHTS
    # The images' own noise is a floor under the spread between nights, so alarms are at most as many as stated.
    assert sum(row.is_alarm for row in decided) / 4 <= stats.binom.isf(0.001, count // 4, 0.02)


def test_models_of_one_night_are_held_against_their_own_nights():
    history = [
        dataclasses.replace(value, model=model, value=value.value + (5.0 if model == "b" else 0.0))
        for value in quiet_nights(9)
        for model in ("a", "b")
    ]
    assert not alarms(alarm_history(history))
    moved = [
        dataclasses.replace(value, value=value.value - 4.0)
        if (value.model, value.metric, value.night) == ("b", "clip_score", night_name(8))
        else value
        for value in history
    ]
    found = [row for row in alarm_history(moved) if row.is_alarm]
    assert {(row.model, row.metric, row.night) for row in found} == {("b", "clip_score", night_name(8))}


def test_a_missing_prompt_is_left_out_of_all_nights():
    row = regression_alarms([*(per_prompt(night) for night in range(8)), per_prompt(8, missing=0)], night_name(8))[0]
    assert row.num_pairs == 199 and not row.is_alarm
    assert row.baseline_mean == pytest.approx(
        np.mean([[v for k, v in per_prompt(night).per_prompt.items() if k != "p0"] for night in range(8)])
    )


def test_a_small_change_and_a_meant_one_raise_nothing():
    history = shift(quiet_nights(12), 11, "clip_score", by=-3.0)
    assert alarms(alarm_history(history))
    assert not alarms(alarm_history(history, AlarmSettings(min_effect={"clip_score": 5.0})))
    assert not alarms(alarm_history(history, AlarmSettings(baseline_from=night_name(11))))


def test_bad_settings_and_a_night_twice_are_refused():
    with pytest.raises(ValueError, match="false_positive_rate: received 5"):
        AlarmSettings(false_positive_rate=5)
    with pytest.raises(ValueError, match="min_nights: received min_nights 20, window 14"):
        AlarmSettings(min_nights=20)
    with pytest.raises(ValueError, match="kid all of 2026-11-01 twice"):
        alarm_history([*quiet_nights(1), *quiet_nights(1)])
