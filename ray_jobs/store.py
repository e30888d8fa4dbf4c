"""The artifact store: names to bytes under one root URI, and a put that only ever creates.

A folder and S3 differ in one place, `Store.create`: a folder links a finished temporary file to its name (the link fails
if the name is taken), S3 sends ``If-None-Match: *`` through s3fs ``mode="create"``. pyarrow's S3 writer overwrites without
a word, so nothing here is written with it.
"""

import json
import os
import uuid
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

import fsspec
from botocore.exceptions import BotoCoreError, ClientError
from fsspec.core import has_magic
from fsspec.spec import AbstractFileSystem

from ray_jobs.errors import AlreadyStored, StoreUnreachable, UnsafeStore
from ray_jobs.moments import in_utc

STORE_VARIABLE = "PANGU_STORE"
OPTIONS_VARIABLE = "PANGU_STORE_OPTIONS"
MOST_REQUESTS = 7
"""To S3 for one call: s3fs waits 0.1 s before the first retry and 1.7 times as long before each next, 3.3 s in all."""
_PASSING = (409, 429, 500, 502, 503, 504)
_UNREACHABLE = (OSError, BotoCoreError, ClientError)


@dataclass(frozen=True)
class Stored:
    """What a listing says of one name."""

    bytes: int
    at: str
    """When it was stored, by the clock of the folder's machine or of S3 (`moments.in_utc`)."""


class Store:
    """Bytes by name under ``root``: a folder, or ``s3://bucket/prefix``."""

    def __init__(self, root: str, options: dict[str, object] | None = None) -> None:
        """Take a root URI and fsspec storage options (endpoint_url, key, secret, s3_additional_kwargs for SSE...)."""
        scheme = root.split("://", 1)[0] if "://" in root else "file"
        if scheme not in ("file", "s3"):
            raise ValueError(
                f"store: {root!r} has scheme {scheme!r}; accepted are a folder, file:// and s3://bucket/prefix"
            )
        self.is_local = scheme == "file"
        if self.is_local:
            self.root = Path(root.removeprefix("file://")).expanduser().absolute().as_posix()
        else:
            self.root = root.removeprefix("s3://").strip("/")
            if not self.root:
                raise ValueError(f"store: {root!r} names no bucket; accepted is s3://bucket/prefix")
        self.uri = self.root if self.is_local else f"s3://{self.root}"
        self.options = options or {}

    @classmethod
    def from_environment(cls, root: str | None = None) -> "Store":
        """Open ``root`` or ``$PANGU_STORE``, with the options of ``$PANGU_STORE_OPTIONS`` (JSON)."""
        root = root or os.environ.get(STORE_VARIABLE) or ".pangu/store"
        raw = os.environ.get(OPTIONS_VARIABLE, "{}")
        try:
            options = json.loads(raw)
        except json.JSONDecodeError as error:
            raise ValueError(
                f"{OPTIONS_VARIABLE}: {error}; accepted is a JSON object of fsspec storage options"
            ) from None
        return cls(root, options)

    @cached_property
    def filesystem(self) -> AbstractFileSystem:
        """The fsspec filesystem, without listing caches: other processes write too."""
        if self.is_local:
            return fsspec.filesystem("file")
        return _open_s3(self.options)

    def __reduce__(self) -> tuple[object, ...]:
        """Travel to a worker as root and options; connections are opened there."""
        return (Store, (self.uri, self.options))

    def path(self, name: str) -> str:
        """The full path of a name, as the filesystem wants it."""
        if name.startswith("/") or ".." in PurePosixPath(name).parts:
            raise ValueError(f"name: {name!r} leaves the store; accepted are relative names without '..'")
        return f"{self.root}/{name}" if name else self.root

    def read(self, name: str) -> bytes:
        """All bytes of a name. FileNotFoundError if it does not exist."""
        with self._reaching(f"reading {name}"):
            data: bytes = self.filesystem.cat_file(self.path(name))
            return data

    def exists(self, name: str) -> bool:
        """Whether the name was ever stored."""
        with self._reaching(f"looking for {name}"):
            return bool(self.filesystem.exists(self.path(name)))

    def names(self, prefix: str) -> list[str]:
        """Every name below ``prefix/``, sorted; temporary files of unfinished puts are not names."""
        with self._reaching(f"listing {prefix}"):
            try:
                found = self.filesystem.find(self.path(prefix))
            except FileNotFoundError:
                return []
        cut = len(self.root) + 1
        return sorted(p[cut:] for p in found if not PurePosixPath(p).name.startswith(".new-"))

    def listing(self, prefix: str) -> dict[str, Stored]:
        """Every file below ``prefix/`` with size and time, left-overs of unfinished puts too. A folder that cannot be read
        is StoreUnreachable, never an empty one: whoever deletes what nobody names must have seen every name.
        """
        strict = {"on_error": "raise"} if self.is_local else {}
        with self._reaching(f"listing {prefix or self.uri}"):
            try:
                found = self.filesystem.find(self.path(prefix), detail=True, **strict)
            except FileNotFoundError:
                return {}
        cut = len(self.root) + 1
        return {path[cut:]: Stored(int(fields["size"]), _stored_at(fields)) for path, fields in sorted(found.items())}

    def size(self, name: str) -> int:
        """Bytes stored under a name."""
        with self._reaching(f"looking for {name}"):
            return int(self.filesystem.size(self.path(name)))

    def create(self, name: str, data: bytes) -> None:
        """Store bytes under a name that must be free; AlreadyStored otherwise. Atomic: never a torn file.

        When the reply to a put is lost, its outcome is unknown: the name is read back, and our own bytes mean success.
        """
        path = self.path(name)
        if self.is_local:
            self._link_new_file(path, name, data)
            return
        try:
            self.filesystem.pipe_file(path, data, mode="create")
        except FileExistsError:
            self._accept_own(name, data)
        except _UNREACHABLE as error:
            if self._holds(name, data):
                return
            if self._is_taken(name):
                raise AlreadyStored(f"{name} is already stored in {self.uri}") from error
            raise StoreUnreachable(f"storing {name} in {self.uri}: {error}") from error

    def _accept_own(self, name: str, data: bytes) -> None:
        """A conflict may be the echo of our own put, retried below us after its reply was lost."""
        if not self._holds(name, data):
            raise AlreadyStored(f"{name} is already stored in {self.uri}")

    def _holds(self, name: str, data: bytes) -> bool:
        try:
            stored: bytes = self.filesystem.cat_file(self.path(name))
        except _UNREACHABLE:
            return False
        return stored == data

    def _is_taken(self, name: str) -> bool:
        try:
            return self.exists(name)
        except StoreUnreachable:
            return False

    def _link_new_file(self, path: str, name: str, data: bytes) -> None:
        target = Path(path)
        fresh = target.parent / f".new-{uuid.uuid4().hex}"
        with self._reaching(f"storing {name}"):
            try:
                with _open_fresh(fresh) as stream:
                    stream.write(data)
                    stream.flush()
                    os.fsync(stream.fileno())
                try:
                    os.link(fresh, target)
                except FileExistsError:
                    raise AlreadyStored(f"{name} is already stored in {self.uri}") from None
            finally:
                fresh.unlink(missing_ok=True)

    def delete(self, name: str) -> None:
        """Remove a name; only garbage collection and the probe do this."""
        with self._reaching(f"deleting {name}"):
            self.filesystem.rm_file(self.path(name))

    def delete_all(self, names: Sequence[str]) -> None:
        """Remove names, on S3 by the thousand in one request; those that are gone already do not matter."""
        paths = [self.path(name) for name in names]
        bulk = [] if self.is_local else [path for path in paths if not has_magic(path)]
        with self._reaching(f"deleting {len(names)} files"):
            if bulk:
                self.filesystem.rm(bulk)
            for path in set(paths) - set(bulk):
                with suppress(FileNotFoundError):
                    self.filesystem.rm_file(path)

    def prune(self, prefix: str) -> None:
        """Remove the empty folders that deleted names leave; S3 has none."""
        if self.is_local:
            for folder, _, _ in os.walk(self.path(prefix), topdown=False):
                with suppress(OSError):  # not empty
                    Path(folder).rmdir()

    def fetch_folder(self, prefix: str, names: list[str], folder: Path) -> None:
        """Copy names below a prefix into a local folder, keeping their relative paths."""
        for name in names:
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(self.read(f"{prefix}/{name}"))

    def probe(self) -> None:
        """Refuse a store that cannot be reached or overwrites where it was asked to create only."""
        name = f"probe/{uuid.uuid4().hex}"
        self.create(name, b"first")
        try:
            self.create(name, b"second")
        except AlreadyStored:
            return
        finally:
            self.delete(name)
        raise UnsafeStore(
            f"store {self.uri}: the server ignores If-None-Match, so two jobs could overwrite each other's versions; "
            "use a store with conditional puts (AWS S3, MinIO, Ceph >= 20, a folder)"
        )

    def _reaching(self, doing: str) -> "_Reaching":
        return _Reaching(self.uri, doing)


def _open_fresh(path: Path) -> BinaryIO:
    """A new file and its folder, which `Store.prune` may take away between the two."""
    for _ in range(100):
        with suppress(FileNotFoundError, FileExistsError):
            path.parent.mkdir(parents=True, exist_ok=True)
            return path.open("xb")
    raise NotADirectoryError(f"{path.parent} does not stay")


def _stored_at(fields: dict[str, Any]) -> str:
    moment = fields["LastModified"] if "LastModified" in fields else datetime.fromtimestamp(fields["mtime"], UTC)
    return in_utc(moment.isoformat())


def _open_s3(options: dict[str, object]) -> AbstractFileSystem:
    """S3 with one loop of retries, s3fs' own: botocore's inside it would make fifty requests of one that fails for good.

    A `retries` among the options' config_kwargs is botocore's, and counts beside it.
    """
    from s3fs.core import set_custom_error_handler

    set_custom_error_handler(_may_pass)
    given = options.get("config_kwargs")
    config = {"retries": {"total_max_attempts": 1}} | (given if isinstance(given, dict) else {})
    chosen = options | {"config_kwargs": config}
    filesystem = fsspec.filesystem("s3", use_listings_cache=False, skip_instance_cache=True, **chosen)
    filesystem.retries = MOST_REQUESTS
    return filesystem


def _may_pass(error: Exception) -> bool:
    """Whether S3 asks for the same request again: it is overloaded, or two operations met on one name (409).

    s3fs itself knows of broken connections, of replies cut short and of SlowDown.
    """
    if not isinstance(error, ClientError):
        return False
    return error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") in _PASSING


class _Reaching:
    """Turns what a filesystem raises when it cannot be reached into StoreUnreachable, once."""

    def __init__(self, uri: str, doing: str) -> None:
        self.uri, self.doing = uri, doing

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, FileNotFoundError | FileExistsError) and "bucket does not exist" not in str(error):
            return
        if isinstance(error, _UNREACHABLE):
            raise StoreUnreachable(f"{self.doing} in {self.uri}: {error}") from error
