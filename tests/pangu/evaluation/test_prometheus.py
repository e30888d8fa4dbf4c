"""The metrics file: what is written, that a parser reads it back, that hostile names stay values, that dashboards ask for
what there is."""

import json
import re
from pathlib import Path

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from pangu.evaluation.dashboard.prometheus import METRIC_LABELS, metrics_text, newest_nights

INFRA = Path(__file__).resolve().parents[3] / "infra"
HOSTILE = 'a"} 1\npangu_evaluation_alarms{model="x\\'


def samples(text):
    return [s for family in text_string_to_metric_families(text.decode()) for s in family.samples]


def expressions():
    board = json.loads((INFRA / "grafana" / "nightly_evaluation.json").read_text())
    found = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    found += [each["definition"] for each in board["templating"]["list"] if "definition" in each]
    found += [each["expr"] for each in board["annotations"]["list"]]
    rules = yaml.safe_load((INFRA / "prometheus" / "alerts.yml").read_text())
    return found + [rule["expr"] for group in rules["groups"] for rule in group["rules"]]


def test_the_newest_night_is_written_and_read_back(build_content):
    content = build_content(lambda: "words")
    found = samples(metrics_text(content))
    (kid,) = [s for s in found if s.name == "pangu_evaluation_value" and s.labels["metric"] == "kid"]
    assert kid.value == 0.012 and kid.labels["stratum"] == "all"
    assert {s.value for s in found if s.name == "pangu_evaluation_alarms"} == {1.0}
    assert {s.name for s in found} >= set(METRIC_LABELS) - {"pangu_evaluation_night_timestamp_seconds"}
    assert all(set(s.labels) == set(METRIC_LABELS[s.name]) for s in found)


@pytest.mark.reliability(23)
def test_a_hostile_name_is_a_value_and_no_line(build_content):
    found = samples(metrics_text(build_content(lambda: HOSTILE)))
    assert {s.labels["model"] for s in found} == {HOSTILE}


def test_only_the_newest_night_of_a_model_counts(build_content):
    names = iter(f"2026-11-{day:02d}" for day in range(1, 30))
    content = build_content(lambda: next(names, "2026-11-30"))
    pages = newest_nights(content.nights)
    assert len({page.model for page in pages}) == len(pages)


@pytest.mark.parametrize("expression", expressions())
def test_dashboards_and_alerts_ask_for_metrics_and_labels_that_there_are(expression):
    names = re.findall(r"\bpangu_\w+", expression)
    assert names and set(names) <= set(METRIC_LABELS)
    for name, matchers in re.findall(r"\b(pangu_\w+)\{([^}]*)\}", expression):
        assert set(re.findall(r"(\w+)\s*(?:=~|!=|!~|=)", matchers)) <= set(METRIC_LABELS[name])


def test_the_dashboard_has_a_place_for_every_metric():
    asked = {name for text in expressions() for name in re.findall(r"\bpangu_\w+", text)}
    assert asked == set(METRIC_LABELS)


def test_panels_do_not_overlap_and_have_ids_of_their_own():
    panels = json.loads((INFRA / "grafana" / "nightly_evaluation.json").read_text())["panels"]
    taken = [
        (x, y)
        for p in (panel["gridPos"] for panel in panels)
        for x in range(p["x"], p["x"] + p["w"])
        for y in range(p["y"], p["y"] + p["h"])
    ]
    assert len(set(taken)) == len(taken) and max(x for x, _ in taken) < 24
    assert len({panel["id"] for panel in panels}) == len(panels)
