"""Fits a classifier of one style on any open_clip tower from labelled pictures, with a calibration report.

``python -m ray_jobs.fit_style_classifier --tower TOWER --pictures FOLDER|FILE.parquet --positive cartoon --output FOLDER``

TOWER is ``local-dir:FOLDER``, ``hf-hub:org/name@COMMIT``, open_clip's ``MODEL:PRETRAINED``, or ``sample``. The pictures
are a folder ``LABEL/[SOURCE/]*.jpg`` or a Parquet file with `label`, `image` (bytes) or `path`, and perhaps `group` and
`source`; pictures of one group are never on both sides of a split, and figures are told for each source.

The output folder holds the head with its abstain band, `report.md`, `report.json`, `reliability.png`, `pictures.parquet`
(every picture: why it was left out, or what was told of it while held out), `preset.toml` for ``pangu run score_images
--preset``, and the embeddings, from which a rerun goes on.
"""

import json
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ray_jobs.errors import JobError
from ray_jobs.job_configs import Runtime, model_folder

if TYPE_CHECKING:
    from curation.calibration_report import HeldOut
    from curation.labelled_embeddings import LabelledRow
    from curation.style_probe import ProbeFit

Say = Callable[[str], None]


class StyleFit(BaseModel):
    """What is fitted from what, and what the abstain band must keep."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tower: str
    pictures: Path
    positive: str
    output: Path
    min_per_class: int = Field(50, ge=10, description="pictures that can be used, of `positive` and of all others")
    folds: int = Field(5, ge=3, le=20)
    split_by_source: bool = Field(False, description="hold out whole sources: how the head does on one it has not seen")
    strengths: tuple[Annotated[float, Field(gt=0)], ...] = Field(
        (0.1, 1.0, 10.0, 100.0, 1000.0), min_length=1, description="inverse regularisations to choose from"
    )
    balance: bool = Field(True, description="both classes weigh the same in the fit (never in the calibration)")
    calibration: Literal["platt", "temperature"] = "platt"
    wanted_precision: float = Field(0.95, gt=0.5, lt=1, description="of each sure side, by a Wilson lower bound")
    confidence: float = Field(0.95, gt=0.5, lt=1, description="of that one-sided bound")
    positive_share: float | None = Field(
        None, gt=0, lt=1, description="in the pool to be scored; as labelled if absent"
    )
    seed: int = Field(0, ge=0)
    batch_size: int = Field(32, ge=1, le=1024)
    precision: Literal["fp32", "fp16", "bf16"] = "fp32"
    device: Literal["auto", "cpu", "cuda", "npu"] = "auto"
    preset: str = Field("sample", description="what the written preset.toml extends")


def fit_style(
    tower: Annotated[str, typer.Option(help="local-dir:FOLDER, hf-hub:org/name@COMMIT, MODEL:PRETRAINED or sample")],
    pictures: Annotated[Path, typer.Option(help="a folder LABEL/[SOURCE/]*.jpg, or a Parquet file")],
    positive: Annotated[str, typer.Option(help="the label to tell from all others")],
    output: Annotated[Path, typer.Option(help="a folder; a rerun goes on from its embeddings")],
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", help=f"key=value; {', '.join(list(StyleFit.model_fields)[4:])}"),
    ] = None,
) -> None:
    """Fit a style classifier on an open_clip tower from labelled pictures, with a calibration report."""
    from ray_jobs.config import parse_assignments

    started = time.monotonic()

    def say(text: str) -> None:
        sys.stdout.write(f"{time.monotonic() - started:7.1f} s  {text}\n")
        sys.stdout.flush()

    named = {"tower": tower, "pictures": pictures, "positive": positive, "output": output}
    try:
        settings = StyleFit.model_validate(parse_assignments(assignments or []) | named)
    except ValidationError as error:
        clauses = [f"{'.'.join(map(str, one['loc']))} = {one['input']!r}: {one['msg']}" for one in error.errors()]
        raise ValueError(f"{'; '.join(clauses)}; the keys there are: {', '.join(StyleFit.model_fields)}") from None
    fit_style_classifier(settings, say)


def fit_style_classifier(settings: StyleFit, say: Say) -> dict[str, Any]:
    """Fit, measure and write everything; the report. ValueError names what the request lacks."""
    from curation.abstain_band import BandSettings
    from curation.calibration_report import calibrate
    from curation.clip_scorer import ClipScorer
    from curation.labelled_embeddings import EmbeddingCache, embed_labelled_pictures
    from curation.labelled_pictures import list_labelled_pictures, require_labels
    from curation.style_classifier_files import describe, publish_head, write_pictures, write_report
    from ray_jobs.config import load_preset
    from ray_jobs.device import torch_device

    load_preset(settings.preset)
    pictures = list_labelled_pictures(settings.pictures)
    require_labels(pictures.labels(), settings.positive, settings.min_per_class, str(settings.pictures))
    source = resolve_tower(settings.tower, settings.output)
    device = torch_device(Runtime(device=settings.device))
    scorer = ClipScorer(source, device, settings.precision, settings.batch_size)
    say(f"{len(pictures.listed)} pictures, tower {scorer.version} on {device}")
    cache = EmbeddingCache.open(settings.output / "embeddings", f"{scorer.fingerprint}-{settings.precision}")
    rows = embed_labelled_pictures(pictures, scorer, cache, say=say)
    held, probe = fit_rows([row for row in rows if row.reason is None], settings, say)
    band = BandSettings(
        precision=settings.wanted_precision, confidence=settings.confidence, positive_share=settings.positive_share
    )
    calibration = calibrate(held, band, settings.calibration, settings.seed)
    head = publish_head(settings.output, settings.positive, probe.head, calibration, scorer.fingerprint)
    report: dict[str, Any] = {
        "positive": settings.positive,
        "tower": {"source": source, "fingerprint": scorer.fingerprint, "version": scorer.version},
        "settings": settings.model_dump(mode="json"),
    } | describe(rows, pictures.num_ignored_files, held, probe, calibration)
    report["head"] |= {"file": head.path.name, "version": head.version}
    write_report(settings.output, report, held, calibration)
    write_pictures(settings.output / "pictures.parquet", rows, held, calibration)
    low, high = calibration.band.low, calibration.band.high
    preset = preset_text(settings.preset, source, head.path, (low, high))
    (settings.output / "preset.toml").write_text(preset, encoding="utf-8")
    left = ", ".join(f"{reason} {number}" for reason, number in report["rows"]["left"].items()) or "none"
    say(f"{len(held.truth)} pictures used, left out: {left}")
    say(
        f"area {calibration.area:.4f}, calibration error {calibration.figures.calibration_error:.4f}, open {low} to {high}"
    )
    for text in calibration.warnings:
        say(f"beware: {text}")
    say(f"wrote {head.path} and report.md beside it")
    return report


def fit_rows(used: "list[LabelledRow]", settings: StyleFit, say: Say) -> "tuple[HeldOut, ProbeFit]":
    """Split, fit and hold out; `used` are rows without a reason, each picture once."""
    from collections import Counter

    import numpy as np

    from curation.calibration_report import HeldOut
    from curation.labelled_pictures import require_labels
    from curation.style_probe import ProbeSettings, assign_folds, fit_probe, units_of

    used = sorted(used, key=lambda row: str(row.sha256))  # so that no name or order moves a bit of the head
    labels = [str(row.listed.label) for row in used]
    readable = f"what can be used of {settings.pictures}"
    require_labels(Counter(labels), settings.positive, settings.min_per_class, readable)
    truth = np.array([label == settings.positive for label in labels])
    sha256s, sources = [str(row.sha256) for row in used], [row.listed.source for row in used]
    groups = sources if settings.split_by_source else [row.listed.group for row in used]
    found = [row.found for row in used if row.found is not None]
    units = units_of(groups, [one.look for one in found], [one.colours for one in found])
    folds = assign_folds(units, truth, sha256s, settings.folds, settings.seed)
    fit_settings = ProbeSettings(strengths=settings.strengths, balance=settings.balance)
    embeddings = np.stack([one.embedding for one in found])
    probe = fit_probe(embeddings, truth, folds, fit_settings, say)
    return HeldOut(sha256s, probe.logits, probe.scale_logits, truth, folds, units, labels, groups, sources), probe


def resolve_tower(tower: str, output: Path) -> str:
    """What `ClipScorer` and the job score_images take; the output folder is made. ValueError for an unknown tower."""
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"output: {output} cannot be made: {error.strerror}") from error
    if tower == "sample" or tower.startswith("hf-hub:"):
        return model_folder("scorer", tower)
    folder = Path(tower.removeprefix("local-dir:"))
    if tower.startswith("local-dir:") or folder.is_dir():
        return str(folder.absolute())
    model_name, colon, pretrained = tower.partition(":")
    if not colon:
        raise ValueError(
            f"tower: {tower!r} is unknown; accepted are local-dir:FOLDER, hf-hub:org/name@COMMIT, open_clip's "
            "MODEL:PRETRAINED, and sample"
        )
    from curation.open_clip_tower import save_named_tower

    slug = re.sub(r"[^\w.-]+", "_", tower)
    return str(save_named_tower(model_name, pretrained, (output / "towers" / slug).absolute()))


def preset_text(extends: str, scorer: str, head: Path, band: tuple[float, float]) -> str:
    """A preset under which score_images uses the head, and build_training_set its band."""
    if Path(extends).is_file():
        extends = str(Path(extends).absolute())
    return (
        f"extends = {json.dumps(extends)}\n\n"
        "# an aesthetic head of the same tower: the tower folder's own, or aesthetic_head = FILE here\n"
        f"[score_images]\nscorer = {json.dumps(scorer)}\ncartoon_head = {json.dumps(str(head.absolute()))}\n\n"
        f"[build_training_set]\ncartoon_low = {band[0]}\ncartoon_high = {band[1]}\n"
    )


def main() -> None:
    """The command; what a user can mend is one line and a non-zero exit."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(fit_style)
    try:
        app()
    except (ValueError, JobError) as error:
        sys.stderr.write(f"error: {error}\n")
        raise SystemExit(2 if isinstance(error, ValueError) else 1) from None


if __name__ == "__main__":
    main()
