"""cloud: a prefix in a bucket of S3, Google Cloud Storage or Azure, or of what speaks their tongue.

obstore (an extra: git-nn[cloud]) does the talking, with the usual variables and files of each cloud
for credentials and endpoints (AWS_ENDPOINT_URL, AWS_ALLOW_HTTP and so on). A value appears as a
whole or not at all, and is created on the condition that it is not there; where a server knows no
conditions, what is there is replaced by the same bytes.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import unquote, urlsplit

from git_nn.errors import RemoteError
from git_nn.remote.address import redacted
from git_nn.remote.base import Advance
from git_nn.remote.keys import Content, Value

if TYPE_CHECKING:
    from obstore.store import ObjectStore

_CHUNK = 4 * 1024 * 1024
_Mode = Literal["create", "overwrite"]
_LARGE = 8 * 1024 * 1024  # bytes: a value is in memory while it is sent
_LARGE_AT_ONCE = 4
_ENDPOINT = re.compile(r"(AWS|AZURE|AZURE_STORAGE)_ENDPOINT")
_UNKNOWN = re.compile(r"\b501 Not Implemented\b|<Code>NotImplemented</Code>")
_RETRIES = {
    "max_retries": 2,
    "backoff": {
        "init_backoff": timedelta(milliseconds=100),
        "max_backoff": timedelta(seconds=2),
        "base": 2,
    },
    "retry_timeout": timedelta(seconds=30),
}


def open_bucket(url: str, env: Mapping[str, str]) -> BucketKeys:
    """The keys below ``s3://bucket/prefix``, ``gs://`` or ``az://``; RemoteError without obstore.

    obstore reads the variables of the process; of ``env``, the same ones, those that it would not.
    """
    try:
        from obstore.store import AzureStore, GCSStore, S3Store
    except ImportError as error:
        raise RemoteError(
            "buckets need another library", hint="run 'pip install git-nn[cloud]'"
        ) from error
    parts = urlsplit(url)
    if not parts.netloc or "@" in parts.netloc:
        raise RemoteError(
            f"{redacted(url)} names no bucket", hint="write s3://BUCKET/PREFIX, without a password"
        )
    _check_endpoints(env)
    prefix = unquote(parts.path).strip("/") or None
    kinds: dict[str, Any] = {"s3": S3Store, "gs": GCSStore, "az": AzureStore}
    try:
        store = kinds[parts.scheme.lower()](
            parts.netloc, prefix=prefix, retry_config=_RETRIES, client_options=_options(env)
        )
    except Exception as error:
        raise RemoteError(f"{redacted(url)}: {_words(error)}") from error
    return BucketKeys(store, redacted(url))


def _check_endpoints(env: Mapping[str, str]) -> None:
    """RemoteError for what obstore would break off at in the middle of a request."""
    for name, value in env.items():
        if _ENDPOINT.match(name) and not value.startswith(("http://", "https://")):
            raise RemoteError(
                f"{name} is no address", hint=f"write {name}=https://HOST, or unset it"
            )


def _options(env: Mapping[str, str]) -> Any:
    plain = any(env.get(f"{cloud}_ALLOW_HTTP") == "true" for cloud in ("AWS", "GOOGLE", "AZURE"))
    times = {"connect_timeout": timedelta(seconds=10), "timeout": timedelta(minutes=10)}
    return {**times, "allow_http": plain}


class BucketKeys:
    """Keys (see keys.py) of a bucket."""

    def __init__(self, store: ObjectStore, label: str) -> None:
        self._store = store
        self._label = label
        self._mode: _Mode = "create"
        self._room = threading.BoundedSemaphore(_LARGE_AT_ONCE)

    @property
    def label(self) -> str:
        return self._label

    def list(self, prefix: str) -> Iterator[Value]:
        import obstore

        with self._told():
            for page in obstore.list(self._store, prefix.rstrip("/")):
                for found in page:
                    modified = found["last_modified"].timestamp()
                    yield Value(found["path"], found["size"], modified)

    def read(self, key: str, start: int, stop: int | None) -> Iterator[bytes]:
        import obstore

        if stop is not None and stop <= start:
            return
        with self._told():
            options: Any = {"range": {"offset": start} if stop is None else (start, stop)}
            if stop is None and start == 0:
                options = {}
            found = obstore.get(self._store, key, options=options)
            for piece in found.stream(min_chunk_size=_CHUNK):
                yield bytes(piece)

    def write(self, key: str, content: Content, advance: Advance) -> None:
        from obstore.exceptions import AlreadyExistsError, BaseError

        with self._told(), self._room if content.size > _LARGE else nullcontext():
            data = _whole(content)
            try:
                self._put(key, data, self._mode)
            except AlreadyExistsError:
                if self.size(key) != content.size:
                    self._put(key, data, "overwrite")
            except BaseError as error:
                if self._mode == "overwrite" or not _UNKNOWN.search(str(error)):
                    raise
                self._mode = "overwrite"
                self._put(key, data, self._mode)
        advance(content.size)

    def _put(self, key: str, data: bytearray, mode: _Mode) -> None:
        import obstore

        obstore.put(self._store, key, data, mode=mode, use_multipart=False)

    def size(self, key: str) -> int | None:
        import obstore

        with self._told():
            try:
                return obstore.head(self._store, key)["size"]
            except FileNotFoundError:
                return None

    def move(self, key: str, target: str) -> None:
        import obstore

        with self._told():
            obstore.rename(self._store, key, target)

    def remove(self, key: str) -> None:
        import obstore

        with self._told():
            try:
                obstore.delete(self._store, key)
            except FileNotFoundError:
                return

    def close(self) -> None:
        """Connections are obstore's own affair."""

    @contextmanager
    def _told(self) -> Iterator[None]:
        from obstore import exceptions

        try:
            yield
        except FileNotFoundError:
            raise
        except (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError) as error:
            raise RemoteError(
                f"{self.label}: not allowed: {_words(error)}",
                hint="look at the credentials of that cloud",
            ) from error
        except exceptions.BaseError as error:
            raise RemoteError(f"{self.label}: {_words(error)}", transient=True) from error


def _whole(content: Content) -> bytearray:
    """All bytes in one piece: what is as large goes back to the system as soon as it is free."""
    data, at = bytearray(content.size), 0
    for piece in content.pieces():
        data[at : at + len(piece)] = piece
        at += len(piece)
    del data[at:]
    return data


def _words(error: Exception) -> str:
    """The first line of what obstore says, which may have a signed address in it behind that."""
    text = str(error).strip().splitlines() or [type(error).__name__]
    words = [word for word in text[0].split() if "://" not in word]
    return "".join(c if c.isprintable() else "?" for c in " ".join(words))[:300]
