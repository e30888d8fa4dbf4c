"""The nightly alarm: tonight's numbers against earlier nights of the same settings, with a stated false-alarm rate.

Nights are walked in the order of their dates, so the result depends on the history alone and not on the order in which
nights were computed or backfilled. A night that raised an alarm leaves the later baselines of its metric.
"""

from collections import defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace

import numpy as np

from pangu.evaluation.night_test import holm_adjusted, predictive_p_values, predictive_reach, predictive_scale
from pangu.evaluation.set_card import SetCard, differing_fields

# +1: higher is worse, -1: lower is worse. A metric that is not here may move either way (the cartoon rate).
WORSE = {
    "fid": 1,
    "fid_infinity": 1,
    "frechet_distance": 1,
    "frechet_distance_infinity": 1,
    "fd_dinov2": 1,
    "fd_dinov2_infinity": 1,
    "kid": 1,
    "cmmd": 1,
    "inception_score": -1,
    "clip_score": -1,
    "cn_clip_score": -1,
    "aesthetic": -1,
    "precision": -1,
    "recall": -1,
    "density": -1,
    "coverage": -1,
}


@dataclass(frozen=True)
class AlarmSettings:
    """false_positive_rate: the chance that a quiet night raises any alarm at all, over all metrics and strata.

    window: how many earlier nights make the baseline at most; min_nights: at least, else nothing is decided.
    min_effect: metric -> the smallest change worth an alarm, in the metric's own unit. baseline_from: nights before it
    count no more, after a change that was meant. worse: metric -> +1, -1 or 0, over the defaults.
    """

    false_positive_rate: float = 0.01
    window: int = 14
    min_nights: int = 5
    min_effect: Mapping[str, float] = field(default_factory=dict)
    baseline_from: str | None = None
    worse: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse settings under which nothing could be decided."""
        if not 0.0 < self.false_positive_rate < 1.0:
            received = self.false_positive_rate
            raise ValueError(f"false_positive_rate: received {received}, accepted: between 0 and 1")
        if not 3 <= self.min_nights <= self.window:
            received_nights = f"min_nights {self.min_nights}, window {self.window}"
            raise ValueError(f"min_nights: received {received_nights}, accepted: 3 to the window")
        unknown = sorted(set(self.worse.values()) - {-1, 0, 1})
        if unknown:
            raise ValueError(f"worse: received {unknown[0]}, accepted: -1, 0 or 1")


@dataclass(frozen=True)
class NightValue:
    """One number of one night. night: its logical date, sortable as text ("2026-11-23").

    standard_error: of the value, from its interval, or None. per_prompt: prompt id -> value where the metric is a mean
    over images; prompts that all nights share are then compared one by one. model: whose number it is, where a night
    has several; each is held against its own earlier nights.
    """

    night: str
    metric: str
    stratum: str
    value: float
    card: SetCard
    standard_error: float | None = None
    per_prompt: Mapping[str, float] | None = None
    model: str = ""


@dataclass(frozen=True)
class AlarmRow:
    """The decision on one number. low, high: where a quiet night lies at the stated rate if it were the only test.

    value, baseline_mean: over the shared prompts where `num_pairs` is not 0. effect: value - baseline_mean; effect_size:
    the same in deviations of a quiet night. p_value, adjusted_p: before and after Holm; null without enough nights.
    """

    metric: str
    stratum: str
    night: str
    value: float
    baseline_mean: float | None
    low: float | None
    high: float | None
    p_value: float | None
    adjusted_p: float | None
    effect: float | None
    effect_size: float | None
    is_alarm: bool
    num_nights: int
    num_pairs: int
    extractor: str
    note: str
    model: str = ""


_Series = tuple[str, str, str, SetCard]


def regression_alarms(
    history: Iterable[NightValue], night: str, settings: AlarmSettings | None = None
) -> list[AlarmRow]:
    """Return the decisions on `night`, from that night and those before it; later ones are not looked at."""
    rows = alarm_history((value for value in history if value.night <= night), settings)
    return [row for row in rows if row.night == night]


def alarm_history(history: Iterable[NightValue], settings: AlarmSettings | None = None) -> list[AlarmRow]:
    """Return the decisions on every night, in the order of nights, metrics, strata and models."""
    chosen = settings or AlarmSettings()
    by_night: dict[str, dict[_Series, NightValue]] = defaultdict(dict)
    for value in history:
        series = (value.metric, value.stratum, value.model, value.card)
        if series in by_night[value.night]:
            raise ValueError(f"history: received {value.metric} {value.stratum} of {value.night} twice, accepted: once")
        by_night[value.night][series] = value
    recent: dict[_Series, deque[NightValue]] = defaultdict(lambda: deque(maxlen=chosen.window))
    seen: dict[tuple[str, ...], dict[SetCard, set[str]]] = defaultdict(lambda: defaultdict(set))
    rows: list[AlarmRow] = []
    for night in sorted(by_night):
        tonight = sorted(by_night[night].items(), key=lambda item: (*item[0][:3], _sort_key(item[0][3])))
        tests = [_Test.build(value, tuple(recent[series]), chosen) for series, value in tonight]
        networks: dict[tuple[str, ...], set[str]] = defaultdict(set)
        for series, value in tonight:
            networks[series[:3]].add(value.card.extractor)
        notes = [_unlike_note(value.card, seen[series[:3]], networks[series[:3]]) for series, value in tonight]
        decided = _decide(tests, notes, chosen)
        rows += decided
        for (series, value), row in zip(tonight, decided, strict=True):
            seen[series[:3]][series[3]].add(night)
            if not row.is_alarm and (chosen.baseline_from is None or night >= chosen.baseline_from):
                recent[series].append(value)
    return rows


@dataclass(frozen=True)
class _Test:
    """One number with its baseline. window: (W,) values of the earlier nights."""

    value: NightValue
    tonight: float
    window: np.ndarray
    noise_variance: float
    worse: int
    num_pairs: int

    @property
    def noise_degrees(self) -> int:
        """How well the images' noise is known: by its pairs, else no better than the nights' own spread."""
        return (self.num_pairs or len(self.window)) - 1

    @classmethod
    def build(cls, value: NightValue, baseline: Sequence[NightValue], settings: AlarmSettings) -> "_Test":
        """Pair by prompt where every night has prompts, and say what noise the images alone give the difference."""
        worse = settings.worse.get(value.metric, WORSE.get(value.metric, 0))
        shared = _shared_prompts([value, *baseline]) if baseline else []
        if len(shared) >= 2:
            table = np.asarray([[night.per_prompt[key] for key in shared] for night in (value, *baseline)])  # type: ignore[index]
            differences = table[0] - table[1:].mean(axis=0)
            noise = float(differences.var(ddof=1)) / len(shared)
            return cls(value, float(table[0].mean()), table[1:].mean(axis=1), noise, worse, len(shared))
        window = np.asarray([night.value for night in baseline], dtype=np.float64)
        errors = [night.standard_error for night in baseline if night.standard_error is not None]
        noise = 0.0
        if errors and value.standard_error is not None:
            # Nights that share their seeds share their error, so its mean over nights is no smaller than one night's.
            noise = value.standard_error**2 + float(np.mean(np.square(errors)))
        return cls(value, value.value, window, noise, worse, 0)


def _decide(tests: Sequence[_Test], notes: Sequence[str], settings: AlarmSettings) -> list[AlarmRow]:
    """Return one row a test; Holm runs over the tests of the night that have a baseline."""
    p_values = np.full(len(tests), np.nan)
    by_length: dict[int, list[int]] = defaultdict(list)
    for index, test in enumerate(tests):
        if len(test.window) >= settings.min_nights:
            by_length[len(test.window)].append(index)
    for indices in by_length.values():
        group = [tests[index] for index in indices]
        p_values[indices] = predictive_p_values(
            np.stack([test.window for test in group]),
            np.asarray([test.tonight for test in group]),
            np.asarray([test.worse for test in group]),
            np.asarray([test.noise_variance for test in group]),
            np.asarray([test.noise_degrees for test in group]),
        )
    adjusted = np.full(len(tests), np.nan)
    known = ~np.isnan(p_values)
    if known.any():
        adjusted[known] = holm_adjusted(p_values[known])
    return [
        _row(test, float(p), float(q), note, settings)
        for test, p, q, note in zip(tests, p_values, adjusted, notes, strict=True)
    ]


def _row(test: _Test, p_value: float, adjusted_p: float, unlike: str, settings: AlarmSettings) -> AlarmRow:
    """Return the row of one decision."""
    value, nights = test.value, len(test.window)
    row = AlarmRow(
        metric=value.metric,
        stratum=value.stratum,
        night=value.night,
        value=test.tonight,
        baseline_mean=None,
        low=None,
        high=None,
        p_value=None,
        adjusted_p=None,
        effect=None,
        effect_size=None,
        is_alarm=False,
        num_nights=nights,
        num_pairs=test.num_pairs,
        extractor=f"{value.card.extractor}@{value.card.fingerprint[:12]} ({value.card.resize_mode})",
        note=unlike,
        model=value.model,
    )
    if np.isnan(p_value):
        said = f"Nothing decided: {nights} earlier nights of the same settings, {settings.min_nights} needed. {unlike}"
        return replace(row, note=said.strip())
    mean, scale = float(test.window.mean()), float(predictive_scale(test.window, test.noise_variance))
    tail = settings.false_positive_rate / (1 if test.worse else 2)
    reach = float(predictive_reach(test.window, test.noise_variance, test.noise_degrees, tail))
    effect = test.tonight - mean
    is_large = abs(effect) >= settings.min_effect.get(value.metric, 0.0)
    return replace(
        row,
        baseline_mean=mean,
        low=mean - reach if test.worse <= 0 else None,
        high=mean + reach if test.worse >= 0 else None,
        p_value=p_value,
        adjusted_p=adjusted_p,
        effect=effect,
        effect_size=effect / scale if scale > 0.0 else None,
        is_alarm=bool(is_large and adjusted_p <= settings.false_positive_rate),
    )


def _shared_prompts(nights: Sequence[NightValue]) -> list[str]:
    """Return the prompts that all nights have, in order; none where a night has no prompts."""
    if any(not night.per_prompt for night in nights):
        return []
    return sorted(set.intersection(*(set(night.per_prompt or ()) for night in nights)))


def _unlike_note(card: SetCard, seen: Mapping[SetCard, set[str]], networks: set[str]) -> str:
    """Say which earlier nights are no part of the baseline, and by which field they differ.

    seen: card -> nights that it was measured in. networks: those that measure the same number tonight; each of them has
    a series of its own, so the nights of another are not missing here.
    """
    said = []
    for other, nights in seen.items():
        left_out = len(nights - seen.get(card, set()))
        is_beside = other.extractor != card.extractor and other.extractor in networks
        if left_out and not is_beside:
            unlike = ", ".join(differing_fields(card, other, _ALL_FIELDS))
            said.append(f"Left out: {left_out} nights that differ in {unlike}.")
    return " ".join(said)


_ALL_FIELDS = tuple(each.name for each in fields(SetCard))


def _sort_key(card: SetCard) -> tuple[str, ...]:
    return tuple(str(getattr(card, name)) for name in _ALL_FIELDS)
