"""http: requests to a server that may be slow, broken or hostile; the one door to urllib3.

1. Nothing is sent to another host than the request was made for, but for a redirect, which takes
   along no header that could be a credential, and never leads from https to http.
2. A body from the server is read in pieces or up to a limit, and never unpacked.
3. Messages name hosts, not addresses: these may hold signatures.

Certificates and proxies are those of Git's configuration (http.sslVerify, http.sslCAInfo,
http.sslCAPath, http.sslCert, http.sslKey, http.proxy, all of them also as http.<url>.*), and of
the environment that the repository's commands get. Nothing is tried twice here (see retry.py).
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import IO, Any, Self
from urllib.parse import urljoin, urlsplit

import urllib3

from git_nn import __version__
from git_nn.errors import RemoteError
from git_nn.gitio.repository import Repository

_TIMEOUT = urllib3.Timeout(connect=30.0, read=60.0)
_PIECE = 1 << 18
_REDIRECTS = 5
_REPEATED, _FETCHED = {301, 302, 307, 308}, 303
_HARMLESS = {"accept", "accept-encoding", "content-type", "content-length", "range", "user-agent"}
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}\Z")
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]{0,16384}\Z")
_ADDRESS = re.compile(r"[\x21-\x7e]{1,8192}\Z")
_UNSEEN = re.compile(r"[^\x20-\x7e\xa0-\ud7ff]+")
_MESSAGE = 64 * 1024  # bytes read of an answer that says no
_PASSING = {408, 425, 429, 500, 502, 503, 504}

Told = Callable[[int], object]  # of the bytes of a body that have gone, from its first


@dataclass(frozen=True, slots=True)
class Upload:
    """A body: the ``size`` bytes of a file."""

    path: Path
    size: int
    told: Told


@dataclass(frozen=True, slots=True)
class Request:
    """What to ask. Headers may hold credentials and are not shown."""

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes | Upload | None = field(default=None, repr=False)


class Response:
    """An answer, of which no more than the head has been read. Use as a context manager."""

    def __init__(self, answer: urllib3.BaseHTTPResponse, host: str) -> None:
        self._answer = answer
        self.host = host
        self.status = answer.status
        self.headers: Mapping[str, str] = answer.headers

    @property
    def length(self) -> int | None:
        """Of the body in bytes, where the head tells it."""
        text = self.headers.get("Content-Length", "")
        return int(text) if text.isascii() and text.isdigit() else None

    def pieces(self) -> Iterator[bytes]:
        """The body as it comes; a RemoteError that may pass where it breaks off."""
        if self.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise RemoteError(f"{self.host} packs its answers, though that was not asked for")
        with _told(self.host):
            yield from self._answer.stream(_PIECE, decode_content=False)

    def data(self, limit: int) -> bytes:
        """The whole body; RemoteError above ``limit`` bytes."""
        data = bytearray()
        for piece in self.pieces():
            data += piece
            if len(data) > limit:
                raise RemoteError(f"{self.host} sent an answer that is too long")
        return bytes(data)

    def json(self, limit: int) -> dict[str, Any]:
        """The body as a JSON object."""
        try:
            found = json.loads(self.data(limit))
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise RemoteError(f"{self.host} sent an answer that is no JSON object")
        return found

    def message(self) -> str:
        """What an answer that says no tells people, in one line of printable text."""
        try:
            said = self.json(_MESSAGE).get("message")
        except RemoteError:
            return ""
        return printable(said) if isinstance(said, str) else ""

    def close(self) -> None:
        if self.length is not None and self.length <= _MESSAGE:
            self._answer.drain_conn()
            self._answer.release_conn()
        else:
            self._answer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.close()
        except (urllib3.exceptions.HTTPError, OSError):
            self._answer.close()


class Client:
    """Connections to servers, kept open for the next request. Any thread may call."""

    def __init__(self, repo: Repository, connections: int) -> None:
        self._repo = repo
        self._connections = connections
        self._settings: dict[str, Mapping[str, str]] = {}
        self._pools: dict[tuple[object, ...], urllib3.PoolManager] = {}
        self._lock = threading.Lock()

    def send(self, request: Request) -> Response:
        """The answer to ``request``, whatever its status; redirects are followed."""
        for _ in range(_REDIRECTS):
            response = self._once(request)
            if response.status not in _REPEATED and response.status != _FETCHED:
                return response
            with response:
                request = _redirected(request, response)
        raise RemoteError(f"{host_of(request.url)} redirects again and again")

    def header(self, url: str) -> dict[str, str]:
        """The header that Git's configuration adds to requests for ``url`` (http.extraHeader)."""
        name, _, value = self._read_settings(url).get("extraheader", "").partition(":")
        return {name: value.strip()} if is_header(name, value.strip()) else {}

    def _once(self, request: Request) -> Response:
        host = host_of(request.url)
        headers = {
            "User-Agent": f"git-nn/{__version__}",
            "Accept-Encoding": "identity",
            **request.headers,
        }
        with _told(host), _opened(request.body) as body:
            if isinstance(request.body, Upload):
                headers["Content-Length"] = str(request.body.size)
            answer = self._pool(request.url).urlopen(
                request.method, request.url, body=body, headers=headers, redirect=False,
                retries=False, timeout=_TIMEOUT, preload_content=False, decode_content=False,
            )  # fmt: skip
        return Response(answer, host)

    def _pool(self, url: str) -> urllib3.PoolManager:
        settings = self._settings_of(url)
        proxy = self._proxy(url, settings)
        verify = settings.get("sslverify", "true").lower() not in {"false", "no", "off", "0"}
        options = {
            "ca_certs": settings.get("sslcainfo"),
            "ca_cert_dir": settings.get("sslcapath"),
            "cert_file": settings.get("sslcert"),
            "key_file": settings.get("sslkey"),
            "cert_reqs": "CERT_REQUIRED" if verify else "CERT_NONE",
        }
        key = (proxy, *options.values())
        with self._lock:
            if key not in self._pools:
                self._pools[key] = _new_pool(proxy, self._connections, options)
            return self._pools[key]

    def _settings_of(self, url: str) -> Mapping[str, str]:
        origin = origin_of(url)
        if origin not in self._settings:
            self._settings[origin] = self._read_settings(url)
        return self._settings[origin]

    def _read_settings(self, url: str) -> Mapping[str, str]:
        """Git's http.* for this address, by the last part of their names."""
        argv = ("config", "-z", "--get-urlmatch", "http", url)
        lines = self._repo.git(*argv, check=False).decode("utf-8", "replace").split("\0")
        found = (line.partition("\n") for line in lines if line)
        return {name.rpartition(".")[2].lower(): value for name, _, value in found}

    def _proxy(self, url: str, settings: Mapping[str, str]) -> str:
        if "proxy" in settings:
            return settings["proxy"]
        env = {name.lower(): value for name, value in self._repo.env.items()}
        parts = urlsplit(url)
        if _is_excepted(parts.hostname or "", env.get("no_proxy", "")):
            return ""
        return env.get(f"{parts.scheme}_proxy") or env.get("all_proxy") or ""

    def close(self) -> None:
        with self._lock:
            for pool in self._pools.values():
                pool.clear()


def _is_excepted(host: str, listed: str) -> bool:
    """Whether ``no_proxy`` names a host, or a domain that it is in."""
    names = [name.strip().lstrip(".").lower() for name in listed.split(",") if name.strip()]
    return any(name == "*" or f".{host}".endswith(f".{name}") for name in names)


def _new_pool(proxy: str, connections: int, options: Mapping[str, Any]) -> urllib3.PoolManager:
    given = {name: value for name, value in options.items() if value is not None}
    if given["cert_reqs"] == "CERT_NONE":  # Git does not warn at each request either
        urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
    if not proxy:
        return urllib3.PoolManager(maxsize=connections, **given)
    parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise RemoteError(
            f"git-nn cannot use a proxy of the kind {parts.scheme}://",
            hint="set http.proxy to one that starts with http://",
        )
    headers = None
    if parts.username is not None:
        secret = f"{parts.username}:{parts.password or ''}"
        headers = urllib3.make_headers(proxy_basic_auth=secret)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    address = f"{parts.scheme}://{parts.hostname}:{port}"
    return urllib3.ProxyManager(address, proxy_headers=headers, maxsize=connections, **given)


@contextmanager
def _opened(body: bytes | Upload | None) -> Iterator[bytes | _File | None]:
    if not isinstance(body, Upload):
        yield body
        return
    with body.path.open("rb") as file:
        yield _File(file, body)


class _File:
    """A file as a body of as many bytes as were announced."""

    def __init__(self, file: IO[bytes], upload: Upload) -> None:
        self._file = file
        self._upload = upload
        self._gone = 0

    def read(self, size: int = -1) -> bytes:
        left = self._upload.size - self._gone
        piece = self._file.read(left if size < 0 else min(size, left))
        if left and not piece:
            raise RemoteError(f"{self._upload.path} became shorter while it was sent")
        self._gone += len(piece)
        self._upload.told(self._gone)
        return piece


@contextmanager
def _told(host: str) -> Iterator[None]:
    """Failures of a connection, in words that hold no address."""
    try:
        yield
    except urllib3.exceptions.SSLError as error:
        raise RemoteError(
            f"{host} could not be reached safely: {printable(str(error))}",
            hint="see http.sslCAInfo in 'git help config'",
        ) from None
    except urllib3.exceptions.HTTPError as error:
        raise RemoteError(f"{host} {_words(error)}", transient=True) from None


def _words(error: urllib3.exceptions.HTTPError) -> str:
    if isinstance(error, urllib3.exceptions.NameResolutionError):
        return "has no address that can be found"
    if isinstance(error, (urllib3.exceptions.NewConnectionError, urllib3.exceptions.ProxyError)):
        return "cannot be reached"
    if isinstance(error, urllib3.exceptions.TimeoutError):
        return "does not answer in time"
    return "broke the connection off"


def _redirected(request: Request, response: Response) -> Request:
    """``request`` where the answer sends it; RemoteError where it must not go."""
    host = host_of(request.url)
    target = urljoin(request.url, response.headers.get("Location", ""))
    if response.status == _FETCHED and request.method != "GET":
        raise RemoteError(f"{host} sends an upload somewhere else where it cannot go")
    check_address(target, f"{host} redirects to")
    if request.url.startswith("https:") and not target.startswith("https:"):
        raise RemoteError(f"{host} redirects to {host_of(target)}, which is not safe (no https)")
    if origin_of(target) == origin_of(request.url):
        return replace(request, url=target)
    kept = {k: v for k, v in request.headers.items() if k.lower() in _HARMLESS}
    return replace(request, url=target, headers=kept)


def check_address(url: str, who: str) -> None:
    """RemoteError unless ``url`` is a plain http or https address without credentials."""
    try:
        parts = urlsplit(url)
        fine = bool(parts.hostname) and "@" not in parts.netloc and parts.port != 0
    except ValueError:
        fine = False
    if not fine or not _ADDRESS.match(url) or parts.scheme not in ("http", "https"):
        raise RemoteError(f"{who} {printable(url.partition('?')[0])!r}, no address to follow")


def is_header(name: str, value: str) -> bool:
    """Whether this may be sent as a header: no line can be smuggled in."""
    return bool(_HEADER.match(name) and _VALUE.match(value))


def origin_of(url: str) -> str:
    """Scheme, host and port: what credentials are for."""
    parts = urlsplit(url)
    port = parts.port or {"http": 80, "https": 443}.get(parts.scheme, 0)
    return f"{parts.scheme}://{(parts.hostname or '').lower()}:{port}"


def host_of(url: str) -> str:
    return urlsplit(url).netloc.rpartition("@")[2]


def printable(text: str) -> str:
    """One line of text from somebody else, of at most 200 letters."""
    return _UNSEEN.sub(" ", text)[:200].strip()


def is_passing(status: int) -> bool:
    """Whether the same request may succeed in a moment."""
    return status in _PASSING


def retry_after(headers: Mapping[str, str]) -> float:
    """Seconds that the server asks to wait, 0 where it does not."""
    text = headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        when = parsedate_to_datetime(text)
    except ValueError:
        return 0.0
    if when.tzinfo is None:
        return 0.0
    return max(0.0, (when - datetime.now(UTC)).total_seconds())
