"""The artifact store: names to bytes under one root URI, and a put that only ever creates.

A folder and S3 differ in one place, `Store.create`: a folder links a finished temporary file to its name (the link fails
if the name is taken), S3 sends ``If-None-Match: *`` through s3fs ``mode="create"``. pyarrow's S3 writer overwrites without
a word, so nothing here is written with it.
"""

import json
import os
import uuid
from functools import cached_property
from pathlib import Path, PurePosixPath

import fsspec
from botocore.exceptions import BotoCoreError, ClientError
from fsspec.spec import AbstractFileSystem

from ray_jobs.errors import AlreadyStored, StoreUnreachable, UnsafeStore

STORE_VARIABLE = "PANGU_STORE"
OPTIONS_VARIABLE = "PANGU_STORE_OPTIONS"
MOST_REQUESTS = 7
"""To S3 for one call: s3fs waits 0.1 s before the first retry and 1.7 times as long before each next, 3.3 s in all."""
_PASSING = (409, 429, 500, 502, 503, 504)
_UNREACHABLE = (OSError, BotoCoreError, ClientError)


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
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                with fresh.open("xb") as stream:
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
