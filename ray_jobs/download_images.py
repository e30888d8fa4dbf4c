"""download_images: every URL of the list ends as a row, with its picture or with a reason."""

from pathlib import Path

import pyarrow as pa

from curation.buckets import FULL_BUCKETS, SAMPLE_BUCKETS, BucketTable
from curation.decode import DecodeSettings
from curation.download import DownloadSettings, download_part
from curation.fetch_guard import FetchSettings
from ray_jobs.errors import JobError
from ray_jobs.job import JobContext
from ray_jobs.job_configs import DownloadImages
from ray_jobs.manifest import Manifest
from ray_jobs.part_runner import WorkerSetup, run_parts
from ray_jobs.parts import merge_counts, read_part

BUCKET_TABLES: dict[str, BucketTable] = {"full": FULL_BUCKETS, "sample": SAMPLE_BUCKETS}


class DownloadWorker:
    """Fetches the URLs of one part."""

    def __init__(self, setup: WorkerSetup) -> None:
        """Read the block list before any picture: without it nothing is fetched."""
        config = setup.config
        assert isinstance(config, DownloadImages)
        self.store, self.url_list = setup.store, setup.inputs["url_list"]
        self.blocked = read_hash_list(config.blocked_sha256_file)
        self.settings = DownloadSettings(
            fetch=FetchSettings(
                timeout_s=config.timeout_s,
                max_bytes=config.max_bytes,
                max_redirects=config.max_redirects,
                user_agent=config.user_agent,
                allowed_hosts=frozenset(config.allow_hosts),
            ),
            decode=DecodeSettings(max_pixels=config.max_pixels),
            threads=config.fetch_threads,
            retries=config.retries,
            backoff_s=config.backoff_s,
            buckets=scale_buckets(BUCKET_TABLES[config.bucket_table], config.keep_scale),
            encode_format=config.encode_format,
            encode_quality=config.encode_quality,
        )

    def __call__(self, part: str) -> pa.Table:
        """All URLs of a part as ``images`` rows."""
        return download_part(read_part(self.store, self.url_list, part), self.settings, self.blocked)


def scale_buckets(table: BucketTable, scale: float) -> BucketTable:
    """The same rows ``scale`` times as large, in multiples of 8 px: what stored pictures must still cover."""
    sizes = [((_scaled(row.structure, scale)), _scaled(row.texture, scale)) for row in table.rows]
    return BucketTable.from_sizes(sizes)


def _scaled(size: tuple[int, int], scale: float) -> tuple[int, int]:
    height, width = (max(8, round(side * scale / 8) * 8) for side in size)
    return height, width


def read_hash_list(path: str | None) -> frozenset[str]:
    """SHA-256 hex digests, one a line. ValueError if the list cannot be read: no list, no download."""
    if path is None:
        return frozenset()
    try:
        lines = Path(path).read_text(encoding="utf-8").split()
    except OSError as error:
        raise ValueError(
            f"blocked_sha256_file: {path} cannot be read ({error.strerror}); nothing is downloaded without it"
        ) from None
    wrong = next((line for line in lines if len(line) != 64 or set(line.lower()) - set("0123456789abcdef")), None)
    if wrong is not None:
        raise ValueError(f"blocked_sha256_file: {path} holds {wrong!r}; accepted are 64 hexadecimal digits a line")
    return frozenset(line.lower() for line in lines)


def run(context: JobContext[DownloadImages]) -> Manifest:
    """One part of the list after the other; fail when too many URLs gave nothing."""
    read_hash_list(context.config.blocked_sha256_file)
    names = [part.name for part in context.input("url_list").parts]
    summaries = run_parts(context, names, DownloadWorker)
    counts = merge_counts([summary.counts for summary in summaries])
    lost = 1 - counts["kept"] / max(counts["in"], 1)
    if lost > context.config.max_failed_share:
        reasons = ", ".join(f"{name} {number}" for name, number in counts.items() if name not in ("in", "kept"))
        raise JobError(
            f"download_images: {lost:.0%} of {counts['in']} URLs gave no picture (accepted: "
            f"{context.config.max_failed_share:.0%}): {reasons}"
        )
    return context.commit_parts(summaries)
