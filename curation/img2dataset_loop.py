"""img2dataset's download loop, with the fetch and the picture handling of this package in their places.

Its `Downloader` (threads, back-pressure, schema, Parquet writer) is used as it is. Its own fetch reads `file:` URLs
and private addresses and follows redirects anywhere, and its resizer ignores EXIF orientation and checks the area
after decoding; so both are replaced. Importing this module imports img2dataset, which takes seconds.
"""

import io
import os
import types
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # else a dependency asks its server for news at import
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it imports modules that Python 3.11 calls deprecated
    from img2dataset import downloader as img2dataset_downloader
    from img2dataset.downloader import Downloader
    from img2dataset.resizer import Resizer
    from img2dataset.writer import ParquetSampleWriter

Fetch = Callable[[int, str], tuple[bytes | None, str | None]]
"""(row, url) to (bytes, None) or (None, error message); must not raise, since that ends the whole shard."""

Process = Callable[[int, bytes], tuple[bytes, tuple[int, int], tuple[int, int]] | str]
"""(row, bytes) to (encoded picture, (width, height), original (width, height)), or an error message."""

_SHARD_ID = 0
_DIGITS = 5


class _FetchedBytes(io.BytesIO):
    """The stream img2dataset hands from its fetch to its resizer; it remembers the row."""

    def __init__(self, row: int, data: bytes) -> None:
        super().__init__(data)
        self.row = row


class GuardedResizer(Resizer):
    """img2dataset's resizer, with `process` instead of its own decoding, resizing and encoding."""

    def __init__(self, process: Process, encode_format: str, encode_quality: int) -> None:
        """`encode_format` is jpg, png or webp, as img2dataset checks."""
        super().__init__(
            image_size=1,  # unused: `process` knows the size
            resize_mode="no",
            resize_only_if_bigger=True,
            encode_format=encode_format,
            encode_quality=encode_quality,
        )
        self._process = process

    def __call__(self, img_stream: _FetchedBytes, blurring_bbox_list: object = None) -> tuple[Any, ...]:
        """(picture, width, height, original width, original height, error message), as the Downloader expects."""
        result = self._process(img_stream.row, img_stream.getvalue())
        if isinstance(result, str):
            return None, None, None, None, None, result
        data, (width, height), (original_width, original_height) = result
        return data, width, height, original_width, original_height, None


class GuardedDownloader(Downloader):
    """img2dataset's downloader of one shard, fetching with `fetch`."""

    def __init__(self, fetch: Fetch, resizer: GuardedResizer, *, folder: Path, threads: int, num_rows: int) -> None:
        """Shards of at most `num_rows` rows, written as Parquet into `folder`."""
        super().__init__(
            sample_writer_class=ParquetSampleWriter,
            resizer=resizer,
            thread_count=threads,
            save_caption=False,
            extract_exif=False,
            output_folder=str(folder),
            column_list=["url"],
            timeout=0,
            number_sample_per_shard=max(num_rows, 2),
            oom_shard_count=_DIGITS,
            compute_hash=None,
            verify_hash_type=None,
            encode_format=resizer.encode_format,
            retries=0,
            user_agent_token=None,
            disallowed_header_directives=None,
        )
        self._fetch = fetch
        # The loop finds its fetch as a global of its module. A copy of the loop with globals of its own gets ours,
        # and several downloads in one process do not disturb each other.
        loop = Downloader.download_shard
        names = {**vars(img2dataset_downloader), "download_image_with_retry": self._fetch_stream}
        self.download_shard = types.MethodType(types.FunctionType(loop.__code__, names, loop.__name__), self)

    def _fetch_stream(self, row: tuple[int, str], **_: object) -> tuple[int, io.BytesIO | None, str | None]:
        index, url = row
        data, message = self._fetch(index, url)
        return index, None if data is None else _FetchedBytes(index, data), message


def download_urls(urls: list[str], downloader: GuardedDownloader, folder: Path) -> dict[int, dict[str, Any]]:
    """Run img2dataset's loop over the URLs; its rows by their index in `urls`, the picture as `image`."""
    shard = folder / "shard.arrow"
    with pa.OSFile(str(shard), "wb") as sink, pa.ipc.new_file(sink, pa.schema([("url", pa.string())])) as writer:
        writer.write_table(pa.table({"url": urls}))
    downloader.download_shard((_SHARD_ID, str(shard)))
    table = pq.read_table(folder / f"{_SHARD_ID:0{_DIGITS}d}.parquet")
    table = table.rename_columns([{downloader.encode_format: "image"}.get(name, name) for name in table.column_names])
    return {int(row["key"]): row for row in table.to_pylist()}
