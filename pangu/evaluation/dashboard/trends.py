"""The figures along time and along a style's scale: one line a model, a band an interval, an upright an alarm."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from markupsafe import Markup

from pangu.evaluation.dashboard.charts import Line, Point, line_chart
from pangu.evaluation.dashboard.content import HistoryPoint, NightPage, StyleSweep
from pangu.evaluation.dashboard.numbers import show_count, show_number
from pangu.evaluation.dashboard.views import METRIC_NAMES
from pangu.evaluation.metrics import ALL, MetricRow

_TONES = (1, 3, 2, 4, 5, 0)
"""Blue, gold, green, violet, grey; red last, since alarms are red."""
_TICK_GAP = 0.35
"""Of the axis: a date takes a quarter of it on a phone, and the first one stands to the right of its place."""

_MOST_LINES = 6


@dataclass(frozen=True)
class Trend:
    """One chart: its heading, the network whose numbers it joins, (name, tone) of its lines, a note, and its drawing."""

    heading: str
    extractor: str
    legend: tuple[tuple[str, int], ...]
    chart: Markup
    note: str = ""


@dataclass(frozen=True)
class NightRow:
    """One night in the table of nights: `figures` in the order of `night_table`'s names, empty where it has none."""

    page: NightPage
    link: str
    figures: tuple[str, ...]
    alarms: int


def night_link(page: str) -> str:
    """Return the file name of a night's page; letters and digits alone go into it."""
    return f"night_{''.join(letter for letter in page if letter.isascii() and letter.isalnum())[:40]}.html"


def history_charts(history: Sequence[HistoryPoint], nights: Sequence[NightPage] = ()) -> list[Trend]:
    """Return a chart of every metric and network over the whole set: unlike runs never share a chart."""
    pages = {night.page for night in nights}
    models = list(dict.fromkeys(point.series for point in history))
    trends = []
    for metric, extractor in dict.fromkeys((p.metric, p.extractor) for p in history if p.stratum == ALL):
        points = [p for p in history if (p.metric, p.extractor, p.stratum) == (metric, extractor, ALL)]
        named = [(name, [p for p in points if p.series == name]) for name in models]
        tones = {name: _TONES[index % len(_TONES)] for index, name in enumerate(models)}
        trends.append(_trend(title_of(metric), extractor, named, tones, pages))
    return trends


def strata_charts(history: Sequence[HistoryPoint], nights: Sequence[NightPage] = ()) -> list[tuple[str, list[Trend]]]:
    """Return (metric, charts): a chart of every stratification, model and network with a line a label, where there are
    two nights at least; of many labels, the first six in the order of the history."""
    pages = {night.page for night in nights}
    keys = dict.fromkeys(
        (p.metric, p.stratum.partition("=")[0], p.series, p.extractor) for p in history if p.stratum != ALL
    )
    found: dict[str, list[Trend]] = {}
    for metric, name, series, extractor in keys:
        points = [
            p
            for p in history
            if (p.metric, p.stratum.partition("=")[0], p.series, p.extractor) == (metric, name, series, extractor)
            and p.stratum != ALL
        ]
        if len({point.label for point in points}) < 2:
            continue
        labels = list(dict.fromkeys(_label_of(point) for point in points))
        shown = labels[:_MOST_LINES]
        named = [(label, [p for p in points if _label_of(p) == label]) for label in shown]
        tones = {label: _TONES[index] for index, label in enumerate(shown)}
        note = "" if len(shown) == len(labels) else f"{len(shown)} of {len(labels)}"
        trend = _trend(f"{name}, {series}", extractor, named, tones, pages, note)
        found.setdefault(title_of(metric), []).append(trend)
    return list(found.items())


def _label_of(point: HistoryPoint) -> str:
    return point.stratum.partition("=")[2] or point.stratum


def title_of(metric: str) -> str:
    """Return the metric's name as people write it."""
    return METRIC_NAMES.get(metric, (metric.replace("_", " "), "", ""))[0]


def _trend(
    heading: str,
    extractor: str,
    named: Sequence[tuple[str, Sequence[HistoryPoint]]],
    tones: dict[str, int],
    pages: set[str],
    note: str = "",
) -> Trend:
    """Return one chart over time of (name, points) lines."""
    drawn = [(name, points) for name, points in named if points]
    place, ticks = time_axis([point.label for _, points in drawn for point in points])
    lines = [
        Line(
            name,
            tuple(
                Point(
                    place[p.label],
                    p.value,
                    p.low,
                    p.high,
                    point_label(name, p),
                    p.is_alarm,
                    night_link(p.page) if p.page in pages else "",
                )
                for p in sorted(points, key=lambda p: place[p.label])
            ),
            tones[name],
        )
        for name, points in drawn
    ]
    chart = line_chart(lines, title=f"{heading} over time", x_name="night", ticks=ticks, markers=True)
    return Trend(heading, extractor, tuple((line.name, line.tone) for line in lines), chart, note)


def time_axis(labels: Sequence[str]) -> tuple[dict[str, float], list[tuple[float, str]]]:
    """Return where each label stands and the axis' ticks: by the calendar where all are dates, else one after another.

    Ticks stand `_TICK_GAP` of the axis apart, from the newest back.
    """
    ordered = list(dict.fromkeys(labels))
    try:
        place = {label: datetime.fromisoformat(label).timestamp() / 86400 for label in ordered}
        ordered.sort()
    except ValueError:
        place = {label: float(index) for index, label in enumerate(ordered)}
    span = place[ordered[-1]] - place[ordered[0]] if ordered else 0.0
    shown: list[str] = []
    for label in reversed(ordered):
        if not shown or place[shown[-1]] - place[label] >= _TICK_GAP * span:
            shown.append(label)
    return place, [(place[label], label) for label in reversed(shown)]


def point_label(name: str, point: HistoryPoint) -> str:
    """Return what hovering over a night says."""
    interval = ""
    if point.low is not None and point.high is not None:
        interval = f" ({show_number(point.low)} to {show_number(point.high)})"
    said = f"{point.label}, {name}: {show_number(point.value)}{interval}"
    return f"{said}, alarm" if point.is_alarm else said


def night_table(nights: Sequence[NightPage]) -> tuple[list[str], list[NightRow]]:
    """Return the names of up to four figures that every night is told by, and a row a night."""
    names = [
        metric
        for metric in ("fid", "kid", "clip_score", "cn_clip_score", "aesthetic", "cartoon_rate")
        if any(_figure(night, metric) for night in nights)
    ][:4]
    rows = [
        NightRow(
            night,
            night_link(night.page),
            tuple(_told(_figure(night, name)) for name in names),
            sum(row.is_alarm for row in night.alarms),
        )
        for night in nights
    ]
    return [title_of(name) for name in names], rows


def _figure(night: NightPage, metric: str) -> MetricRow | None:
    """Return the whole set's row of a metric: the first network's."""
    return next((row for row in night.metrics if row.metric == metric and row.stratum == ALL), None)


def _told(row: MetricRow | None) -> str:
    if row is None:
        return ""
    if row.low is None or row.high is None:
        return show_number(row.value)
    return f"{show_number(row.value)} ({show_number(row.low)} to {show_number(row.high)})"


def sweep_charts(sweep: StyleSweep) -> list[Trend]:
    """Return a chart of every number along the style's scale."""
    charts = []
    for tone, curve in enumerate(sweep.curves):
        points = tuple(
            Point(p.scale, p.value, p.low, p.high, f"s = {p.scale:g}: {show_number(p.value)}, n = {show_count(p.n)}")
            for p in curve.points
        )
        ticks = [(point.x, f"{point.x:g}") for point in points]
        line = Line(sweep.style, points, _TONES[tone % len(_TONES)])
        title = title_of(curve.metric)
        chart = line_chart(
            [line], title=f"{title} along {sweep.style}", x_name=f"s_{sweep.style}", ticks=ticks, markers=True
        )
        charts.append(Trend(title, curve.extractor, (), chart))
    return charts
