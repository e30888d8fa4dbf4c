"""register_url_list: a user's list becomes rows keyed by URL, in planned parts."""

from pathlib import Path

from curation.url_list import UrlListColumns, read_url_list
from ray_jobs.job import JobContext
from ray_jobs.job_configs import RegisterUrlList
from ray_jobs.manifest import Manifest
from ray_jobs.parts import not_digested, split_by_key, write_part


def run(context: JobContext[RegisterUrlList]) -> Manifest:
    """Read, check, split by key hash, commit."""
    config = context.config
    table = read_url_list(Path(config.path), UrlListColumns.model_validate(config.columns))
    parts = split_by_key(table, config.rows_per_part)
    summaries = []
    for number, (name, rows) in enumerate(parts.items(), 1):
        summaries.append(write_part(context.store, context.prefix, name, rows, not_digested("url_list")))
        context.progress.report(number, len(parts), "parts")
    return context.commit_parts(summaries, facts={"source": config.path})
