import math
import xml.etree.ElementTree as ElementTree

import pytest

from pangu.evaluation.dashboard.charts import Line, Point, bar, line_chart, stacked_bar
from pangu.evaluation.dashboard.numbers import show_bytes, show_number, show_seconds, show_share, show_words


def test_a_chart_is_wellformed_and_inside_its_frame():
    lines = [
        Line("a", tuple(Point(x, x * 0.1 - 2, x * 0.1 - 3, x * 0.1 - 1) for x in range(50))),
        Line("b & <c>", (Point(3, 1.5, 1.0, 2.0), Point(4, math.nan)), 2),
    ]
    root = ElementTree.fromstring(str(line_chart(lines, title="<t>", x_name="step", markers=True)))
    for shape in root.iter():
        for name in ("cx", "x", "x1", "x2"):
            assert 0 <= float(shape.get(name, "0")) <= 560
        for name in ("cy", "y", "y1", "y2"):
            assert 0 <= float(shape.get(name, "0")) <= 300
    band = next(shape for shape in root if shape.tag == "polygon")
    assert len(band.get("points").split()) == 100


def test_the_labels_of_an_axis_are_the_values_they_stand_at():
    points = (Point(0, 0.0, -0.045, 0.05), Point(1, 0.1, 0.0, 0.155))
    root = ElementTree.fromstring(str(line_chart([Line("a", points)], title="t", x_name="x")))
    found = {float(tick.text.replace("−", "-")): float(tick.get("y")) for tick in root if tick.get("class") == "tick"}
    (first, y_first), *others = sorted(found.items())
    assert others
    steps = [(y_first - y) / (value - first) for value, y in others]
    assert first == pytest.approx(0.0), "a round value"
    assert max(steps) - min(steps) < 0.02 * max(steps), "as far apart as their labels say"


def test_one_point_a_flat_line_and_nothing_are_drawn_or_left_out():
    assert "<circle" in line_chart([Line("a", (Point(0, 1.0),))], title="t", x_name="x")
    assert "<polyline" in line_chart([Line("a", (Point(0, 0.0), Point(1, 0.0)))], title="t", x_name="x")
    assert line_chart([Line("a", (Point(0, math.nan),))], title="t", x_name="x") == ""


def test_bars_show_shares():
    assert 'width="50.0%"' in bar(5, 10)
    assert 'width="0.6%"' in bar(1, 100_000)
    assert 'width="0.0%"' in bar(0, 0)
    assert 'x="25.0%" width="75.0%"' in stacked_bar([("a", 1, 0), ("b", 3, 1)])


def test_numbers_read_well():
    assert [show_number(x) for x in (None, 0.0, -0.0018, 7.99, 26.123, 106.8, 12345.6, 0.00001)] == [
        "–",
        "0",
        "−0.0018",
        "7.990",
        "26.12",
        "106.8",
        "12,346",
        "1.0e-05",
    ]
    assert (show_bytes(3 * 2**20), show_bytes(12)) == ("3.0 MiB", "12 B")
    assert (show_seconds(0.42), show_seconds(200), show_seconds(7500)) == ("0.4 s", "3 min 20 s", "2 h 5 min")
    assert (show_share(1, 3), show_share(3, 3), show_share(0, 0)) == ("33.3 %", "100 %", "–")
    assert show_words("url_list") == "URL list"
