"""From the content to what a page draws: charts, ordered tables and the few figures of the first screen."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from pangu.evaluation.dashboard.charts import Line, Point, line_chart
from pangu.evaluation.dashboard.content import ArtifactVersion, SiteContent, TrainingContent
from pangu.evaluation.dashboard.numbers import show_count, show_number, show_seconds, show_share
from pangu.evaluation.metrics import ALL, MetricRow
from pangu.evaluation.regression import AlarmRow

ROLE_TONES = {"shared": 5, "structure": 1, "texture": 0}
STYLE_TONES = {"aesthetic": 3, "cartoon": 0, "other": 1}

_LOUD_WORDS = ("NOT INDEPENDENT", "NOT MEANINGFUL")

# metric -> (name, what it says, which way is better)
METRIC_NAMES = {
    "kid": ("KID", "Kernel distance to the reference images; unbiased at any size", "lower is better"),
    "fid": ("FID", "Frechet distance to the reference images on Inception features", "lower is better"),
    "frechet_distance": ("Frechet distance", "As FID, on another network: its own scale", "lower is better"),
    "inception_score": (
        "Inception score",
        "How sure a classifier is, and how varied the images are",
        "higher is better",
    ),
    "clip_score": ("CLIP score", "Agreement of image and prompt, 0 to 100", "higher is better"),
    "aesthetic": ("Aesthetic score", "Mean score of the aesthetic head", "higher is better"),
    "cmmd": ("CMMD", "As KID, with a Gaussian kernel on CLIP features", "lower is better"),
    "fd_dinov2": ("FD-DINOv2", "Frechet distance to the reference images on DINOv2 features", "lower is better"),
    "cn_clip_score": ("CN-CLIP score", "Agreement of image and Chinese prompt, 0 to 100", "higher is better"),
    "cartoon_probability": ("Cartoon probability", "Mean of what the classifier gives", "as asked for"),
    "cartoon_rate": ("Cartoon rate", "Share of images that the classifier calls cartoons", "as asked for"),
}


@dataclass(frozen=True)
class Figure:
    """One large number on the first screen."""

    value: str
    name: str
    detail: str


@dataclass(frozen=True)
class MetricView:
    """One row of a metric table, ready to be drawn; left, right and centre are per cent of the interval drawing."""

    row: MetricRow
    title: str
    meaning: str
    direction: str
    note: Markup
    left: float
    right: float
    centre: float


def headline_figures(content: SiteContent) -> list[Figure]:
    """Return up to five figures of the first screen, for what has been produced."""
    figures: list[Figure] = []
    if content.dataset and content.dataset.funnel:
        first, last = content.dataset.funnel[0], content.dataset.funnel[-1]
        figures.append(
            Figure(show_count(first.rows_in), "records in", "every one ends as a row: kept, or with a reason")
        )
        share = show_share(last.kept, first.rows_in)
        figures.append(Figure(show_count(last.kept), "kept for training", f"{share} of the URL list"))
    if content.training:
        steps = sum(run.steps for run in content.training.runs)
        seconds = sum(run.seconds for run in content.training.runs)
        figures.append(
            Figure(show_count(steps), "training steps", f"{len(content.training.runs)} runs, {show_seconds(seconds)}")
        )
    if content.generation:
        failed = sum(content.generation.failed.values())
        figures.append(Figure(show_count(content.generation.rows), "images generated", f"{failed} rows failed"))
    row = key_metric(content.metrics)
    if row:
        title = METRIC_NAMES.get(row.metric, (row.metric, "", ""))[0]
        figures.append(Figure(show_number(row.value), title, f"{interval_text(row)}, n = {row.n:,}"))
    return figures


def key_metric(rows: Sequence[MetricRow]) -> MetricRow | None:
    """Return the metric that may stand alone: FID only where it means something, else KID."""
    for metric in ("fid", "kid", "clip_score"):
        for row in rows:
            if row.metric == metric and row.stratum == ALL and "NOT " not in row.note:
                return row
    return None


def interval_text(row: MetricRow) -> str:
    """Return "95 % interval 0.010 to 0.014", or that there is none."""
    if row.low is None or row.high is None:
        return "no interval"
    return f"95 % interval {show_number(row.low)} to {show_number(row.high)}"


def version_positions(versions: Sequence[ArtifactVersion]) -> dict[str, int]:
    """Return where on the provenance page each version stands, counted from 1."""
    return {version.version: position for position, version in enumerate(versions, start=1)}


def metric_tables(rows: Sequence[MetricRow]) -> list[tuple[str, str, list[MetricView]]]:
    """Return (heading, extractor, rows) tables: one for the whole set, then one a metric and network for the strata."""
    tables = []
    whole = [row for row in rows if row.stratum == ALL]
    if whole:
        tables.append(("All images", "", [_view(row, [row]) for row in whole]))
    keys = dict.fromkeys((row.metric, row.extractor) for row in rows if row.stratum != ALL)
    for metric, extractor in keys:
        alike = [row for row in rows if (row.metric, row.extractor) == (metric, extractor)]
        title = METRIC_NAMES.get(metric, (metric.replace("_", " "), "", ""))[0]
        tables.append((f"{title} by stratum", extractor, [_view(row, alike) for row in alike]))
    return tables


def _view(row: MetricRow, alike: Sequence[MetricRow]) -> MetricView:
    """Return the row with its interval placed on the common scale of `alike`."""
    values = [v for r in alike for v in (r.low, r.value, r.high) if v is not None]
    low, high = min(values), max(values)
    span = (high - low) or 1.0

    def place(value: float | None) -> float:
        return 50.0 if value is None or high == low else round(4 + 92 * (value - low) / span, 2)

    title, meaning, direction = METRIC_NAMES.get(row.metric, (row.metric.replace("_", " "), "", ""))
    lowest = row.value if row.low is None else row.low
    highest = row.value if row.high is None else row.high
    return MetricView(
        row, title, meaning, direction, mark_warnings(row.note), place(lowest), place(highest), place(row.value)
    )


def mark_warnings(note: str) -> Markup:
    """Return the escaped note with its loud words drawn as labels."""
    marked = escape(note)
    for words in _LOUD_WORDS:
        label = Markup('<span class="tag warn">{}</span>').format(words.lower())
        marked = marked.replace(f"{words}:", label).replace(words, label)
    return marked


def loss_charts(training: TrainingContent) -> list[tuple[str, Markup]]:
    """Return one chart of every run's loss, and one a run where there are several."""
    lines = [
        Line(
            run.role,
            tuple(
                Point(step, loss, label=f"{run.role}, step {step}: {show_number(loss)}") for step, loss in run.losses
            ),
            ROLE_TONES.get(run.role, 4),
        )
        for run in training.runs
    ]
    together = line_chart(lines, title="Training loss by step", x_name="step")
    alone = [(line.name, line_chart([line], title=f"Loss of {line.name}", x_name="step")) for line in lines]
    return [("all runs", together), *(alone if len(lines) > 1 else [])]


def alarm_summary(alarms: Sequence[AlarmRow]) -> str:
    """Return one sentence on the newest night: how many numbers moved, out of how many that could be decided."""
    newest = [row for row in alarms if row.night == alarms[-1].night]
    decided = [row for row in newest if row.p_value is not None]
    if not decided:
        nights = max(row.num_nights for row in newest)
        return f"{newest[0].night}: nothing decided, there are {nights} earlier nights of the same settings."
    moved = sum(row.is_alarm for row in decided)
    return f"{newest[0].night}: {moved} of {len(decided)} numbers moved further than quiet nights let them."


def alarm_title(row: AlarmRow) -> str:
    """Return the metric's name, with the stratum where it is one."""
    title = METRIC_NAMES.get(row.metric, (row.metric.replace("_", " "), "", ""))[0]
    return title if row.stratum == ALL else f"{title}, {row.stratum}"
