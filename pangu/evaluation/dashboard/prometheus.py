"""The newest night of every model as Prometheus metrics, in the text format that its text-file collector reads.

Names and labels are what `infra/grafana` and `infra/prometheus` ask for.
"""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.core import GaugeMetricFamily

from pangu.evaluation.dashboard.content import NightPage, SiteContent

NUMBER = ("model", "metric", "stratum", "extractor")
_GAUGES: dict[str, tuple[str, tuple[str, ...]]] = {
    "pangu_evaluation_value": ("Value of a number of the newest night", NUMBER),
    "pangu_evaluation_low": ("Lower bound of its 95 % interval", NUMBER),
    "pangu_evaluation_high": ("Upper bound of its 95 % interval", NUMBER),
    "pangu_evaluation_images": ("Images behind it", NUMBER),
    "pangu_evaluation_alarm": ("Whether it moved further than quiet nights let it; absent where undecided", NUMBER),
    "pangu_evaluation_adjusted_p": ("Its p-value after Holm's step", NUMBER),
    "pangu_evaluation_alarms": ("Alarms of the newest night", ("model",)),
    "pangu_evaluation_night_timestamp_seconds": ("Logical date of the newest night", ("model",)),
    "pangu_generated_pictures": ("Pictures of the newest night by outcome, 'kept' or a reason", ("model", "outcome")),
    "pangu_generation_images_per_second": ("Generation throughput of the newest night", ("model",)),
    "pangu_style_sweep_value": ("Value at a scale of a style", ("model", "style", "scale", "metric")),
}
METRIC_LABELS = {name: labels for name, (_, labels) in _GAUGES.items()}
"""Every metric that is written, and its labels."""


def metrics_text(content: SiteContent) -> bytes:
    """Return the text format of the newest night of each model and of all sweeps; label values are escaped."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collected(list(_families(content))))
    return generate_latest(registry)


class _Collected:
    """What `prometheus_client` asks of a collector."""

    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def newest_nights(nights: Iterable[NightPage]) -> list[NightPage]:
    """Return the newest night of each model."""
    newest: dict[str, NightPage] = {}
    for night in sorted(nights, key=lambda night: night.night):
        newest[night.model] = night
    return list(newest.values())


def _families(content: SiteContent) -> Iterator[GaugeMetricFamily]:
    """Yield the families in the order of their names' table; one label set is written once."""
    found: dict[str, dict[tuple[str, ...], float]] = {name: {} for name in _GAUGES}
    for night in newest_nights(content.nights):
        for name, labels, value in _samples_of(night):
            found[name].setdefault(labels, value)
    for sweep in content.sweeps:
        for curve in sweep.curves:
            for point in curve.points:
                labels = (sweep.model, sweep.style, f"{point.scale:g}", curve.metric)
                found["pangu_style_sweep_value"].setdefault(labels, point.value)
    for name, (meaning, label_names) in _GAUGES.items():
        family = GaugeMetricFamily(name, meaning, labels=label_names)
        for labels, value in found[name].items():
            family.add_metric(labels, value)
        yield family


def _samples_of(night: NightPage) -> Iterator[tuple[str, tuple[str, ...], float]]:
    """Yield (name, label values, value) of one night."""
    for row in night.metrics:
        labels = (night.model, row.metric, row.stratum, row.extractor)
        yield "pangu_evaluation_value", labels, row.value
        yield "pangu_evaluation_images", labels, row.n
        if row.low is not None and row.high is not None:
            yield "pangu_evaluation_low", labels, row.low
            yield "pangu_evaluation_high", labels, row.high
    for alarm in night.alarms:
        if alarm.p_value is not None:
            labels = (night.model, alarm.metric, alarm.stratum, alarm.extractor)
            yield "pangu_evaluation_alarm", labels, float(alarm.is_alarm)
            yield "pangu_evaluation_adjusted_p", labels, alarm.adjusted_p or 0.0
    yield "pangu_evaluation_alarms", (night.model,), float(sum(row.is_alarm for row in night.alarms))
    moment = _timestamp(night.night)
    if moment is not None:
        yield "pangu_evaluation_night_timestamp_seconds", (night.model,), moment
    for outcome, rows in night.counts.items():
        yield "pangu_generated_pictures", (night.model, outcome), float(rows)
    if night.images_per_s is not None:
        yield "pangu_generation_images_per_second", (night.model,), night.images_per_s


def _timestamp(night: str) -> float | None:
    """Return a logical date in seconds since 1970, UTC; None where the night has another kind of name."""
    try:
        return datetime.fromisoformat(night[:10]).replace(tzinfo=UTC).timestamp()
    except ValueError:
        return None
