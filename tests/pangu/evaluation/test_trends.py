"""Charts along time: a line a model, dates to scale, an upright at the alarm, a link where the night has a page."""

import re

from pangu.evaluation.dashboard.content import (
    ArtifactVersion,
    HistoryPoint,
    NightPage,
    StyleSweep,
    SweepCurve,
    SweepPoint,
)
from pangu.evaluation.dashboard.trends import (
    history_charts,
    night_link,
    night_table,
    strata_charts,
    sweep_charts,
    time_axis,
)
from pangu.evaluation.metrics import MetricRow


def point(night, value, model="ours", stratum="all", alarm=False, metric="kid", page=""):
    return HistoryPoint(night, metric, value, value - 1, value + 1, "net", stratum, model, alarm, page)


def night(page, *rows):
    return NightPage(page, ArtifactVersion("metrics", "k", "d", "evaluate_images", 1), "2026-11-01", "ours", rows)


def test_one_line_a_model_and_dates_to_scale():
    points = [point(f"2026-11-0{day}", day, model) for model in ("ours", "theirs") for day in (1, 2, 8)]
    (trend,) = history_charts(points)
    assert trend.legend == (("ours", 1), ("theirs", 3)) and trend.chart.count("<polyline") == 2
    xs = [float(x) for x in re.findall(r'class="dot tone1" cx="([\d.]+)"', trend.chart)]
    assert abs((xs[2] - xs[1]) / (xs[1] - xs[0]) - 6) < 0.01, "six days are six times as far apart as one"


def test_a_backfilled_night_stands_at_its_date_and_not_at_its_turn():
    points = [point(f"2026-11-0{day}", day) for day in (3, 1, 2)]
    (trend,) = history_charts(points)
    line = re.search(r'<polyline class="line tone1" points="([^"]+)"', trend.chart)[1]
    xs = [float(pair.split(",")[0]) for pair in line.split()]
    assert xs == sorted(xs)


def test_other_networks_and_strata_have_charts_of_their_own():
    points = [point("2026-11-01", 1), point("2026-11-01", 2, metric="fid")]
    points += [point(f"2026-11-0{day}", 1, stratum=f"style={name}") for day in (1, 2) for name in "abcdefgh"]
    points += [point("2026-11-01", 1, stratum="language=en")]
    assert [trend.heading for trend in history_charts(points)] == ["KID", "FID"]
    ((metric, charts),) = strata_charts(points)
    assert metric == "KID" and [trend.heading for trend in charts] == ["style, ours"], "one night alone is no curve"
    assert charts[0].note == "6 of 8" and len(charts[0].legend) == 6


def test_an_alarm_is_marked_on_its_night_and_a_point_opens_its_page():
    points = [point("2026-11-01", 1, page="a" * 24), point("2026-11-02", 5, alarm=True, page="b" * 24)]
    (trend,) = history_charts(points, [night("b" * 24)])
    assert trend.chart.count("alarmmark") == 1 and trend.chart.count("dot tone1 alarm") == 1
    assert re.findall(r'href="([^"]+)"', trend.chart) == [f"night_{'b' * 24}.html"]


def test_a_page_name_has_nothing_of_a_hostile_key():
    assert night_link('"><script>a/../b') == "night_scriptab.html"


def test_names_that_are_no_dates_stand_one_after_another():
    place, ticks = time_axis(["2026-11-01 #1", "2026-11-01 #2"])
    assert list(place.values()) == [0.0, 1.0] and len(ticks) == 2
    place, _ = time_axis(["2026-11-01 03:00", "2026-11-01 15:00"])
    assert place["2026-11-01 15:00"] - place["2026-11-01 03:00"] == 0.5
    place, ticks = time_axis([f"2026-11-{day:02d}" for day in range(1, 31)])
    assert [label for _, label in ticks] == ["2026-11-08", "2026-11-19", "2026-11-30"]


def test_dates_that_stand_close_together_are_not_written_over_each_other():
    _, ticks = time_axis([*(f"2026-11-{day:02d}" for day in range(1, 15)), "2026-11-27"])
    assert [label for _, label in ticks] == ["2026-11-04", "2026-11-14", "2026-11-27"]


def test_the_table_of_nights_tells_figures_and_alarms():
    row = MetricRow("kid", 0.01, 0.0, 0.02, 9, "all", "net", "")
    names, rows = night_table([night("a", row), night("b")])
    assert names == ["KID"] and [each.figures for each in rows] == [("0.0100 (0 to 0.0200)",), ("",)]


def test_a_sweep_draws_a_curve_a_number():
    points = tuple(SweepPoint(s, s / 6, s / 6 - 0.1, s / 6 + 0.1, 48) for s in range(7))
    curves = (SweepCurve("cartoon_rate", "net", points), SweepCurve("clip_score", "net", points, "care"))
    sweep = StyleSweep("cartoon", "m", "", curves, ArtifactVersion("style_sweep", "k", "d", "sweep_styles", 7))
    charts = sweep_charts(sweep)
    assert [trend.heading for trend in charts] == ["Cartoon rate", "CLIP score"]
    assert charts[0].chart.count("<circle") == 7 and "s_cartoon" in charts[0].chart
