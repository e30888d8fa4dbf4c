"""Downloads one part of a URL list: every URL ends as a row of `images`, with a picture or with a reason."""

import io
import tempfile
import time
from collections.abc import Set
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field

from curation.buckets import FULL_BUCKETS, BucketTable
from curation.crop_plan import size_to_cover
from curation.decode import DecodedPicture, DecodeSettings, decode_picture
from curation.errors import PictureError
from curation.fetch_guard import Fetched, FetchSettings, fetch
from curation.fingerprint import sha256_hex
from curation.opt_out import Headers, OptOutPolicy, find_opt_out, opt_out_evidence
from curation.records import IMAGES
from curation.rejection import Rejection

NOT_FETCHED = "not fetched by us"
"""The opt-out evidence of a record whose server never answered us."""

_PILLOW_FORMATS = {"jpg": "JPEG", "png": "PNG", "webp": "WEBP"}
_SUFFIXES = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp"}
_REFUSED = frozenset({Rejection.OPTED_OUT, Rejection.HASH_LISTED, Rejection.HASH_MISMATCH, Rejection.BLOCKED_ADDRESS})


class DownloadSettings(BaseModel):
    """How a part is downloaded and stored; `buckets` is the largest table that will be trained on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    fetch: FetchSettings = FetchSettings()
    decode: DecodeSettings = DecodeSettings()
    opt_out: OptOutPolicy = OptOutPolicy()
    threads: int = Field(default=16, ge=1, le=512)
    retries: int = Field(default=2, ge=0, le=10)
    backoff_s: float = Field(default=0.5, ge=0.0, le=60.0)
    buckets: BucketTable = FULL_BUCKETS
    encode_format: Literal["jpg", "png", "webp"] = "jpg"
    encode_quality: int = Field(default=95, ge=1, le=100)


@dataclass
class _Outcome:
    """What one URL gave beside what img2dataset's own row holds."""

    reason: Rejection | None = None
    sha256: str | None = None
    exif: str | None = None
    stored_format: str | None = None
    opt_out_evidence: str = NOT_FETCHED
    fetched_at: datetime | None = None


@dataclass
class _PartDownload:
    """The two places this package takes in img2dataset's loop: fetching (in threads) and storing (in one)."""

    rows: list[dict[str, Any]]
    settings: DownloadSettings
    blocked_sha256: Set[str]
    outcomes: list[_Outcome] = field(init=False)

    def __post_init__(self) -> None:
        self.outcomes = [_Outcome() for _ in self.rows]

    def fetch_row(self, index: int, url: str) -> tuple[bytes | None, str | None]:
        """Bytes that may be stored, or a message; the opt-out headers come before the body, the hash lists after."""
        outcome = self.outcomes[index]
        try:
            fetched = self._fetch_with_retries(url)
            outcome.fetched_at = datetime.now(UTC)
            if fetched.status is not None:
                outcome.opt_out_evidence = opt_out_evidence(fetched.evidence_headers)
            if fetched.body is None:
                outcome.reason = fetched.reason
                return None, fetched.error_message
            outcome.sha256 = sha256_hex(fetched.body)
            self._check_hash(outcome.sha256, self.rows[index]["sha256"])
        except PictureError as error:
            outcome.reason = error.reason
            return None, str(error)
        except Exception as error:  # the boundary: an exception here would end img2dataset's whole shard
            outcome.reason = Rejection.CONNECTION_FAILED
            return None, f"{type(error).__name__}: {error}"
        return fetched.body, None

    def store_row(self, index: int, data: bytes) -> tuple[bytes, tuple[int, int], tuple[int, int]] | str:
        """The picture as it is stored, its size and its original size (width, height), or a message."""
        outcome = self.outcomes[index]
        try:
            picture = decode_picture(data, self.settings.decode)
            stored, size, outcome.stored_format = encode_for_storage(data, picture, self.settings)
        except PictureError as error:
            outcome.reason = error.reason
            return str(error)
        outcome.exif = picture.exif
        return stored, size, picture.image.size

    def _fetch_with_retries(self, url: str) -> Fetched:
        for attempt in range(self.settings.retries + 1):
            fetched = fetch(url, self.settings.fetch, check_headers=self._check_headers)
            if not fetched.is_worth_retrying or attempt == self.settings.retries:
                break
            time.sleep(self.settings.backoff_s * 2**attempt)
        return fetched

    def _check_headers(self, headers: Headers) -> tuple[Rejection, str] | None:
        said = find_opt_out(headers, self.settings.opt_out)
        return (Rejection.OPTED_OUT, said) if said is not None else None

    def _check_hash(self, sha256: str, expected: str | None) -> None:
        if sha256 in self.blocked_sha256:
            raise PictureError(Rejection.HASH_LISTED, f"sha256 {sha256} stands on a hash list")
        if expected is not None and sha256 != expected:
            raise PictureError(Rejection.HASH_MISMATCH, f"sha256 {sha256}, expected {expected}")


def download_part(rows: pa.Table, settings: DownloadSettings, blocked_sha256: Set[str] = frozenset()) -> pa.Table:
    """The `images` rows of these `url_list` rows, in the same order; a few hundred at a time, threads inside.

    `blocked_sha256` are hashes of pictures whose bytes are never stored. A row that has a reason already keeps it and
    is not fetched. Raises for no URL, server or picture.
    """
    from curation.img2dataset_loop import GuardedDownloader, GuardedResizer, download_urls  # seconds to import

    records = rows.to_pylist()
    wanted = [record for record in records if record["reason"] is None]
    part = _PartDownload(wanted, settings, blocked_sha256)
    loaded: dict[int, dict[str, Any]] = {}
    if wanted:
        quality = 6 if settings.encode_format == "png" else settings.encode_quality  # img2dataset's scale for png
        with tempfile.TemporaryDirectory(prefix="download-") as name:
            folder = Path(name)
            resizer = GuardedResizer(part.store_row, settings.encode_format, quality)
            downloader = GuardedDownloader(
                part.fetch_row, resizer, folder=folder, threads=settings.threads, num_rows=len(wanted)
            )
            loaded = download_urls([record["url"] for record in wanted], downloader, folder)
    made = iter([_image_row(record, part.outcomes[i], loaded.get(i)) for i, record in enumerate(wanted)])
    result = [next(made) if record["reason"] is None else _skipped_row(record) for record in records]
    return pa.Table.from_pylist(result, schema=IMAGES)


def encode_for_storage(
    data: bytes, picture: DecodedPicture, settings: DownloadSettings
) -> tuple[bytes, tuple[int, int], str]:
    """(encoded picture, its (width, height), Pillow's format name).

    Shrunk so that it still covers its bucket of the largest table, never enlarged; where neither the size nor the
    pixels change, the source bytes are kept as they are.
    """
    image = picture.image
    bucket = settings.buckets.rows[settings.buckets.assign(image.height, image.width)]
    height, width = size_to_cover((image.height, image.width), bucket.structure)
    if height < image.height and width < image.width:
        image = image.resize((width, height), Image.Resampling.BICUBIC)
    elif picture.is_as_stored:
        return data, image.size, picture.source_format
    name = _PILLOW_FORMATS[settings.encode_format]
    buffer = io.BytesIO()
    if name == "PNG":
        image.save(buffer, name)
    else:  # full colour resolution: small pictures lose most to halved chroma
        image.save(buffer, name, quality=settings.encode_quality, **({"subsampling": 0} if name == "JPEG" else {}))
    return buffer.getvalue(), image.size, name


def _image_row(record: dict[str, Any], outcome: _Outcome, loaded: dict[str, Any] | None) -> dict[str, Any]:
    row = _carried(record) | {
        "sha256": outcome.sha256,
        "opt_out_evidence": outcome.opt_out_evidence,
        "fetched_at": outcome.fetched_at,
    }
    if loaded is None or (loaded["status"] != "success" and outcome.reason is None):
        message = "img2dataset's loop lost the row" if loaded is None else loaded["error_message"]
        return row | {"status": "failed_to_resize", "reason": Rejection.UNDECODABLE.value, "error_message": message}
    if outcome.reason is not None:
        status = "rejected" if outcome.reason in _REFUSED else loaded["status"]
        return row | {"status": status, "reason": outcome.reason.value, "error_message": loaded["error_message"]}
    stored = loaded["image"]
    path = f"{record['key']}.{_SUFFIXES[outcome.stored_format or 'JPEG']}"
    sizes = {name: loaded[name] for name in ("width", "height", "original_width", "original_height")}
    return (
        row
        | sizes
        | {
            "status": "success",
            "image": {"bytes": stored, "path": path},
            "stored_sha256": sha256_hex(stored),
            "exif": outcome.exif,
        }
    )


def _skipped_row(record: dict[str, Any]) -> dict[str, Any]:
    return _carried(record) | {
        "status": "rejected",
        "reason": record["reason"],
        "error_message": Rejection(record["reason"]).meaning,
        "opt_out_evidence": NOT_FETCHED,
    }


def _carried(record: dict[str, Any]) -> dict[str, Any]:
    """What goes through from the list, over a row of nulls."""
    names = ("key", "url", "captions_en", "captions_zh", "licence")
    return dict.fromkeys(IMAGES.names) | {name: record[name] for name in names}
