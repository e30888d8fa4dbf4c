"""The site's tables of pictures: the same prompts over nights, over models, and over the scales of a style."""

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from pangu.evaluation.dashboard.content import (
    GridColumn,
    GridRow,
    Picture,
    PictureTable,
    StyleSweep,
    SweepCurve,
    SweepPoint,
)
from ray_jobs.manifest import Manifest
from ray_jobs.night_pages import Measured
from ray_jobs.parts import read_rows
from ray_jobs.side_by_side import model_name
from ray_jobs.store import Store
from ray_jobs.stored_pictures import find_pictures
from ray_jobs.version_facts import describe

Row = dict[str, Any]


def over_time(store: Store, nights: Sequence[Measured], num_nights: int, num_prompts: int) -> list[PictureTable]:
    """A table a line of the trends: its newest nights across, oldest first. A line with one night has none."""
    lines: dict[str, list[Measured]] = defaultdict(list)
    for found in nights:
        if found.generated is not None:
            lines[found.series].append(found)
    tables = []
    for series, members in lines.items():
        newest = members[:num_nights][::-1]
        if len(newest) < 2:
            continue
        columns = [
            GridColumn(found.label, model_name(found.generated) if found.generated else "", found.page)
            for found in newest
        ]
        versions = [found.generated for found in newest if found.generated is not None]
        tables.append(picture_table(store, series, columns, versions, num_prompts))
    return [table for table in tables if table.rows]


def side_by_side(store: Store, versions: Mapping[str, Manifest], num_prompts: int) -> list[PictureTable]:
    """One table of models on one prompt list. versions: the model's name -> its pictures; none of fewer than two."""
    if len(versions) < 2:
        return []
    columns = [GridColumn(name, f"{version.counts.get('kept', 0):,} pictures") for name, version in versions.items()]
    table = picture_table(store, "On one prompt list", columns, list(versions.values()), num_prompts)
    return [table] if table.rows else []


def picture_table(
    store: Store, name: str, columns: Sequence[GridColumn], versions: Sequence[Manifest], num_prompts: int
) -> PictureTable:
    """The prompts that most versions have a picture of, in the order of their keys' hashes: the same every night."""
    keys = chosen_keys(store, versions, num_prompts)
    found = [find_pictures(store, version, keys) for version in versions]
    rows = []
    for key in keys:
        own = [pictures.get(key) for pictures in found]
        told = next((row for row in own if row is not None), None)
        if told is None:
            continue
        seeds = {row["seed"] for row in own if row is not None and row["seed"] is not None}
        note = f"seed {seeds.pop()}" if len(seeds) == 1 else "seeds differ" if seeds else ""
        rows.append(GridRow(told["prompt"] or "", told["language"] or "", tuple(map(shown, own)), note))
    return PictureTable(name, tuple(columns), tuple(rows))


def chosen_keys(store: Store, versions: Sequence[Manifest], num_prompts: int) -> list[str]:
    """Keys of sample 0 with a picture in as many versions as there are."""
    having: dict[str, int] = defaultdict(int)
    for version in versions:
        for row in read_rows(store, version, ["key", "sample_index", "reason"]).to_pylist():
            having[row["key"]] += row["reason"] is None and row["sample_index"] in (0, None)
    most = max(having.values(), default=0)
    keys = [key for key, number in having.items() if number == most > 0]
    return sorted(keys, key=lambda key: hashlib.sha256(key.encode()).digest())[:num_prompts]


def shown(row: Row | None) -> Picture | None:
    """A cell; a row without a picture is a gap."""
    return Picture(row["image"]["bytes"]) if row is not None and row["image"] is not None else None


def sweeps_of(store: Store, version: Manifest) -> list[StyleSweep]:
    """Every style of a version of ``style_sweep``, with its pictures."""
    rows = [row for row in read_rows(store, version).to_pylist() if row["image"] is not None]
    scorer = version.facts["scorer"]
    uses = " and ".join(scorer["other_uses"])
    note = f"NOT INDEPENDENT: this model also {uses}." if uses else ""
    experts = version.inputs.get("experts")
    model = f"experts {experts.key[:12]}" if experts else str(version.facts.get("experts", ""))
    found = []
    for sweep in version.facts["sweeps"]:
        curves = tuple(
            SweepCurve(curve["metric"], scorer["name"], tuple(SweepPoint(**p) for p in curve["points"]), note)
            for curve in sweep["curves"]
        )
        pictures = sweep_pictures(rows, sweep["style"], version.config["scales"])
        found.append(StyleSweep(sweep["style"], model, sweep["statement"], curves, describe(version), pictures))
    return found


def sweep_pictures(rows: Sequence[Row], style: str, scales: Sequence[float]) -> PictureTable | None:
    """Prompts down, scales across."""
    cells = {(row["place"], row["scale"]): row for row in rows if row["style"] in (None, style)}
    places = sorted({place for place, _ in cells})
    table = []
    for place in places:
        own = [cells.get((place, scale)) for scale in scales]
        told = next(row for row in own if row is not None)
        table.append(GridRow(told["prompt"], told["language"] or "", tuple(map(shown, own)), f"seed {told['seed']}"))
    columns = tuple(GridColumn(f"s = {scale:g}") for scale in scales)
    return PictureTable(f"{style}, scale by scale", columns, tuple(table)) if table else None
