"""The site's pages of single nights: every model of a night with its numbers, alarms, settings, and extreme pictures."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import Any

from pangu.evaluation.dashboard.content import NightPage, Picture
from pangu.evaluation.metrics import MetricRow
from ray_jobs.evaluation_sides import GENERATED
from ray_jobs.lineage import lineage
from ray_jobs.manifest import Manifest
from ray_jobs.picture_scores import read_picture_scores
from ray_jobs.side_by_side import model_name
from ray_jobs.store import Store
from ray_jobs.stored_pictures import find_pictures
from ray_jobs.version_facts import describe
from ray_jobs.versions import Versions
from ray_jobs.write_history import alarm_row

Row = dict[str, Any]
SCORES = ("clip_score", "cn_clip_score", "aesthetic")
"""What the extreme pictures are ordered by: the first of these that any picture has."""
_FIGURES = ("metric", "value", "low", "high", "n", "stratum", "extractor", "note")
_SETTINGS = ("sampler", "steps", "guidance", "style_scales", "prompt_style_scale", "size", "run_seed", "encode_format")


@dataclass(frozen=True)
class Measured:
    """One model in one night. page: a name of its own; label: what the axes call the night; series: the model's line."""

    night: str
    label: str
    page: str
    series: str
    metrics: Manifest
    generated: Manifest | None
    rows: tuple[Row, ...]


def series_of(versions: Versions, rows: Iterable[Row]) -> dict[tuple[str, str], str]:
    """(night, model) -> the line that it stands on; a candidate that is the champion itself stands on the champion's.

    rows: of the history. Where one model was ever measured, the line has its name.
    """
    metrics: dict[str, dict[str, str]] = defaultdict(dict)
    newest: dict[str, Row] = {}
    for row in rows:
        metrics[row["night"]][row["model"]] = row["metrics"]
        newest[row["model"]] = row
    names = {model: _name_of(versions, row) for model, row in newest.items()}
    found = {}
    for night, models in metrics.items():
        for model, key in models.items():
            same = model != "champion" and models.get("champion") == key
            found[night, model] = "" if same else model
    lines = {line for line in found.values() if line}
    if len(lines) == 1:
        (only,) = lines
        return {place: names[only] if line else "" for place, line in found.items()}
    return {place: f"{line}: {names[line]}" if line else "" for place, line in found.items()}


def _name_of(versions: Versions, row: Row) -> str:
    """A line keeps its name over the nights, so a pair is "experts" whatever its version."""
    made = versions.find(GENERATED, row["generated_images"]) if row["generated_images"] else None
    if made is None or "experts" in made.inputs:
        return str(row["model_name"] or "not recorded")
    return model_name(made)


def measured(
    versions: Versions, rows: Sequence[Row], labels: Mapping[str, str], lines: Mapping[tuple[str, str], str]
) -> list[Measured]:
    """Every model of every night once, newest night first.

    rows: of the history; labels: night -> its short name; lines: `series_of`.
    """
    members: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        members[row["night"], row["model"]].append(row)
    found = []
    for night, model in sorted(members, reverse=True):
        own = members[night, model]
        version = versions.find("metrics", own[0]["metrics"])
        if version is None or not lines[night, model]:
            continue
        given = version.inputs.get(GENERATED)
        generated = versions.find(GENERATED, given.key) if given else None
        page = f"{own[0]['night_version']}{model}"
        found.append(Measured(night, labels[night], page, lines[night, model], version, generated, tuple(own)))
    return found


Extremes = tuple[str, tuple[Picture, ...], tuple[Picture, ...]]
"""A score's name, the lowest and the highest pictures."""


def night_pages(store: Store, nights: Iterable[Measured], num_pictures: int) -> Iterator[NightPage]:
    """A page each, with up to `num_pictures` of the lowest and of the highest scores; equal pictures are read once."""
    read: dict[str, Extremes] = {}
    for found in nights:
        if found.metrics.key not in read:
            read[found.metrics.key] = extreme_pictures(store, found, num_pictures)
        yield night_page(store, found, read[found.metrics.key])


def night_page(store: Store, found: Measured, extremes: Extremes) -> NightPage:
    """The page of one model in one night."""
    score, lowest, highest = extremes
    ancestors = list(lineage(Versions(store), found.metrics))
    made = found.generated
    return NightPage(
        page=found.page,
        version=describe(found.metrics),
        night=found.label,
        model=found.series,
        metrics=tuple(MetricRow(**{name: row[name] for name in _FIGURES}) for row in found.rows),
        alarms=tuple(replace(row, night=found.label) for row in map(alarm_row, found.rows) if row is not None),
        lineage=tuple(describe(version) for _, version in {v.key: (a, v) for a, v in ancestors}.values()),
        facts=tuple(facts_of(found)),
        left_out=tuple(left_out(found.metrics.facts)),
        counts={name: rows for name, rows in made.counts.items() if name != "in"} if made else {},
        images_per_s=made.facts.get("took", {}).get("images_per_s") if made else None,
        score_name=score,
        lowest=lowest,
        highest=highest,
    )


def facts_of(found: Measured) -> Iterable[tuple[str, str]]:
    """What a reader asks first: which night, model, prompts and settings."""
    facts = found.metrics.facts
    yield "logical date", found.night
    model, prompts = facts.get("model", {}), facts.get("prompts", {})
    if model:
        yield "model", f"{model['name']} {model['version']}" if model["version"] != model["name"] else model["name"]
    if prompts:
        yield "prompts", PurePath(str(prompts.get("source") or prompts.get("version"))).name  # no path of a machine
    yield "measured", f"{facts.get('generated', 0):,} pictures against {facts.get('reference', 0):,} references"
    settings = facts.get("generation", {})
    for name in _SETTINGS:
        if settings.get(name) not in (None, {}, ""):
            yield name.replace("_", " "), str(settings[name])


def left_out(facts: Mapping[str, Any]) -> Iterable[tuple[str, str, int]]:
    """(side, reason, rows) of every picture that was not measured."""
    for side in ("generated", "reference"):
        for reason, rows in facts.get(f"{side}_left_out", {}).items():
            yield side, reason, rows
        for network, reasons in facts.get(f"{side}_rejected", {}).items():
            for reason, rows in reasons.items():
                yield side, f"{network}: {reason}", rows


def extreme_pictures(store: Store, found: Measured, num_pictures: int) -> Extremes:
    """The pictures of the lowest and highest scores; nothing where they have none or their version is gone."""
    if "picture_scores" not in found.metrics.facts or found.generated is None:
        return "", (), ()
    rows = read_picture_scores(store, found.metrics, ["key", "prompt", "language", "seed", *SCORES]).to_pylist()
    score = next((name for name in SCORES if any(row[name] is not None for row in rows)), "")
    if not score:
        return "", (), ()
    ordered = sorted((row for row in rows if row[score] is not None), key=lambda row: (row[score], row["key"]))
    each = min(num_pictures, len(ordered) // 2)
    lowest, highest = ordered[:each], ordered[::-1][:each]
    pixels = find_pictures(store, found.generated, {row["key"] for row in (*lowest, *highest)})

    def shown(rows: Sequence[Row]) -> tuple[Picture, ...]:
        return tuple(scored_picture(row, pixels[row["key"]], score) for row in rows if row["key"] in pixels)

    return score, shown(lowest), shown(highest)


def scored_picture(row: Row, picture: Row, score: str) -> Picture:
    """A picture with its prompt, score and seed."""
    prompt = row["prompt"] or ""
    english, chinese = ("", prompt) if row["language"] == "zh" else (prompt, "")
    facts = ((score.replace("_", " "), f"{row[score]:.2f}"), ("seed", str(row["seed"])))
    return Picture(picture["image"]["bytes"] if picture["image"] else b"", english, chinese, facts=facts)
