"""build_training_set: duplicates, rules, style prefix, bucket rows and crop plans. Rows and pointers, no pixels."""

import pyarrow as pa

from curation.duplicates import DuplicateSettings
from curation.rules import RuleSettings
from curation.style_prefix import Style, StyleSettings
from curation.training_rows import (
    IMAGE_COLUMNS,
    SCORE_COLUMNS,
    TrainingSetSettings,
    build_training_rows,
    training_funnel,
)
from ray_jobs.download_images import BUCKET_TABLES
from ray_jobs.job import JobContext
from ray_jobs.job_configs import BuildTrainingSet
from ray_jobs.manifest import Manifest
from ray_jobs.parts import not_digested, read_part, read_rows, write_part
from ray_jobs.store import Store

_POINTERS = ("image_part", "image_row")


def run(context: JobContext[BuildTrainingSet]) -> Manifest:
    """Duplicates need all rows at once (without pixels); parts are laid out as ``images`` is."""
    images = read_with_pointers(context.store, context.input("images"))
    scores = read_rows(context.store, context.input("scores"), list(SCORE_COLUMNS))
    rows = build_training_rows(images, scores, settings_of(context.config))
    funnel = training_funnel(images.num_rows, rows)
    summaries = []
    of_part = rows.column("image_part").to_pylist()
    names = [part.name for part in context.input("images").parts]
    for number, name in enumerate(names, 1):
        table = rows.filter(pa.array([found == name for found in of_part]))
        summaries.append(write_part(context.store, context.prefix, name, table, not_digested("training_set")))
        context.progress.report(number, len(names), "parts")
    return context.commit_parts(
        summaries, facts={"kept_by": {name: dict(split) for name, split in funnel.kept_by.items()}}
    )


def read_with_pointers(store: Store, images: Manifest) -> pa.Table:
    """The rows of ``images`` without pixels, each with the part and row it stands in."""
    columns = [name for name in IMAGE_COLUMNS if name not in _POINTERS]
    tables = []
    for part in images.parts:
        table = read_part(store, images, part.name, columns)
        table = table.append_column("image_part", pa.array([part.name] * table.num_rows, pa.string()))
        tables.append(table.append_column("image_row", pa.array(range(table.num_rows), pa.int64())))
    return pa.concat_tables(tables)


def settings_of(config: BuildTrainingSet) -> TrainingSetSettings:
    """The library's settings for a job's config."""
    return TrainingSetSettings(
        buckets=BUCKET_TABLES[config.bucket_table],
        rules=RuleSettings(
            min_side_px=config.min_side_px,
            max_aspect=config.max_aspect,
            min_similarity=config.min_caption_similarity,
            min_aesthetic=config.min_aesthetic,
        ),
        duplicates=DuplicateSettings(max_distance=config.duplicate_distance),
        style=StyleSettings(
            min_aesthetic=config.aesthetic_pool,
            cartoon_low=config.cartoon_low,
            cartoon_high=config.cartoon_high,
            prefixes={Style(name): prefix for name, prefix in config.prefixes.items()},
        ),
    )
