"""Writes the site: static pages without script, one stylesheet, thumbnails, and the newest figures for Prometheus."""

import shutil
from functools import cache
from importlib import resources
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from pangu.evaluation.dashboard import charts, enhancement, numbers, trends, views
from pangu.evaluation.dashboard.content import SiteContent
from pangu.evaluation.dashboard.prometheus import metrics_text
from pangu.evaluation.dashboard.thumbnails import Thumbnails

PAGES = (
    ("index.html", "Overview"),
    ("dataset.html", "Dataset"),
    ("training.html", "Training"),
    ("evaluation.html", "Evaluation"),
    ("compare.html", "Side by side"),
    ("styles.html", "Styles"),
    ("enhancement.html", "Prompts"),
    ("provenance.html", "Provenance"),
)


def write_site(folder: Path, content: SiteContent) -> list[Path]:
    """Write the whole site into `folder` and return its pages, the first to be opened first, the nights' own last.

    Pages of an earlier site in the folder are replaced, and its nights and thumbnails removed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(folder / "pictures", ignore_errors=True)
    for old in folder.glob("night_*.html"):
        old.unlink()
    environment = _environment()
    stylesheet = resources.files("pangu.evaluation").joinpath("site", "style.css").read_bytes()
    (folder / "style.css").write_bytes(stylesheet)
    (folder / "metrics.prom").write_bytes(metrics_text(content))
    thumbnails = Thumbnails(folder / "pictures")
    shared = {"content": content, "navigation": navigation(content), "thumbnail": thumbnails.add}
    written = []
    for name, title in PAGES:
        page = environment.get_template(f"{name}.j2").render(page=name, page_title=title, **shared)
        (folder / name).write_text(page, encoding="utf-8")
        written.append(folder / name)
    for night in content.nights:
        name, title = trends.night_link(night.page), f"{night.night}, {night.model}"
        page = environment.get_template("night.html.j2").render(page=name, page_title=title, night=night, **shared)
        (folder / name).write_text(page, encoding="utf-8")
        written.append(folder / name)
    return written


def navigation(content: SiteContent) -> list[tuple[str, str]]:
    """Return the pages that have anything to show: whoever only evaluates has no dataset and no training."""
    empty = {
        "dataset.html": content.dataset is None,
        "training.html": content.training is None,
        "compare.html": not (content.side_by_side or content.over_time),
        "styles.html": not content.sweeps,
        "enhancement.html": content.enhancement is None,
    }
    return [(name, title) for name, title in PAGES if not empty.get(name, False)]


@cache
def _environment() -> Environment:
    """Return the templates with everything they may call; escaping is on for every one of them."""
    environment = Environment(
        loader=PackageLoader("pangu.evaluation", "site"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        count=numbers.show_count,
        number=numbers.show_number,
        size=numbers.show_bytes,
        seconds=numbers.show_seconds,
        short=numbers.show_short,
        words=numbers.show_words,
        heading=numbers.show_heading,
    )
    environment.globals.update(
        share=numbers.show_share,
        bar=charts.bar,
        stacked_bar=charts.stacked_bar,
        shape=charts.shape,
        headline_figures=views.headline_figures,
        metric_tables=views.metric_tables,
        version_positions=views.version_positions,
        loss_charts=views.loss_charts,
        alarm_summary=views.alarm_summary,
        alarm_title=views.alarm_title,
        history_charts=trends.history_charts,
        strata_charts=trends.strata_charts,
        sweep_charts=trends.sweep_charts,
        night_table=trends.night_table,
        enhancement_charts=enhancement.enhancement_charts,
        phase_shares=enhancement.phase_shares,
        night_link=trends.night_link,
        title_of=trends.title_of,
        mark_warnings=views.mark_warnings,
        role_tones=views.ROLE_TONES,
        style_tones=views.STYLE_TONES,
    )
    return environment
