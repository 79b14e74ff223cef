"""A small web server that stands before another one and breaks what passes, as it is told."""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from threading import Lock, Thread
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat


@dataclass(frozen=True)
class Asked:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True)
class Answer:
    """``length`` is what Content-Length says where that is not true."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    length: int | None = None


Forward = Callable[[Asked], Answer]
Change = Callable[[Asked, Forward], Answer | None]  # None: the connection breaks off


@dataclass
class Fault:
    """``change`` instead of passing on, for the next ``times`` requests of this kind."""

    method: str
    part: str
    change: Change
    times: int


class Proxy(ThreadingHTTPServer):
    """Passes on to ``target``; ``asked`` are all requests, in the order in which they came."""

    daemon_threads = True

    def __init__(self, target: str, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.scheme = "https" if tls else "http"
        if tls:
            self.socket = tls.wrap_socket(self.socket, server_side=True)
        self.target = urlsplit(target).netloc
        self.asked: list[Asked] = []
        self._faults: list[Fault] = []
        self._lock = Lock()

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.server_address[1]}"

    def fault(self, method: str, part: str, change: Change, times: int = 1) -> None:
        self._faults.append(Fault(method, part, change, times))

    def count(self, method: str, part: str = "") -> int:
        return sum(asked.method == method and part in asked.path for asked in self.asked)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that leaves in the middle is what these tests are about."""

    def answer(self, asked: Asked) -> Answer | None:
        with self._lock:
            self.asked.append(asked)
            change: Change = lambda asked, forward: forward(asked)  # noqa: E731
            for fault in self._faults:
                if fault.times and fault.method == asked.method and fault.part in asked.path:
                    fault.times -= 1
                    change = fault.change
                    break
        return change(asked, self._forward)

    def _forward(self, asked: Asked) -> Answer:
        connection = http.client.HTTPConnection(self.target)
        try:
            headers = {**asked.headers, "Content-Length": str(len(asked.body))}
            connection.request(asked.method, asked.path, asked.body, headers)
            response = connection.getresponse()
            kept = {k: v for k, v in response.getheaders() if k.lower() not in _HOP}
            said = response.getheader("Content-Length") if asked.method == "HEAD" else None
            return Answer(response.status, kept, response.read(), int(said) if said else None)
        finally:
            connection.close()


_HOP = {"content-length", "transfer-encoding", "connection"}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Proxy

    def _run(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        headers = {name.title(): value for name, value in self.headers.items()}
        answer = self.server.answer(Asked(self.command, self.path, headers, body))
        if answer is None:
            self.close_connection = True
            return
        length = len(answer.body) if answer.length is None else answer.length
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(answer.body)
        self.close_connection = length != len(answer.body) and self.command != "HEAD"

    do_GET = do_HEAD = do_PUT = do_POST = _run  # noqa: N815

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def proxy(target: str, tls: ssl.SSLContext | None = None) -> Iterator[Proxy]:
    with Proxy(target, tls) as server:
        thread = Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def certificate(folder: Path) -> tuple[Path, ssl.SSLContext]:
    """A certificate for 127.0.0.1 that nobody knows, and what a server shows it with."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    address = x509.IPAddress(ip_address("127.0.0.1"))
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path, secret = folder / "certificate.pem", folder / "key.pem"
    path.write_bytes(signed.public_bytes(Encoding.PEM))
    secret.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path, secret)
    return path, context


# -- what can go wrong


def reply(status: int, body: bytes = b"{}", **headers: str) -> Change:
    """An answer of the proxy's own; the server behind it is not asked."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda _asked, _forward: Answer(status, named, body)


def broken(_asked: Asked, _forward: Forward) -> None:
    """The request is read, and the connection ends."""


def unanswered(asked: Asked, forward: Forward) -> None:
    """The server does what it was asked for, and the connection ends."""
    forward(asked)


def sent(change: Callable[[bytes], bytes]) -> Change:
    """Another body arrives at the server."""
    return lambda asked, forward: forward(replace(asked, body=change(asked.body)))


def received(change: Callable[[Answer], Answer]) -> Change:
    """Another answer arrives at the client."""
    return lambda asked, forward: change(forward(asked))


def cut(at: int) -> Change:
    """The answer breaks off after ``at`` bytes of its body."""
    return received(lambda it: replace(it, body=it.body[:at], length=len(it.body)))


def ranged(asked: Asked, forward: Forward) -> Answer:
    """A server that knows Range, which the one behind does not."""
    whole = forward(asked)
    if "Range" not in asked.headers:
        return whole
    first, last = map(int, asked.headers["Range"].removeprefix("bytes=").split("-"))
    headers = {**whole.headers, "Content-Range": f"bytes {first}-{last}/{len(whole.body)}"}
    return Answer(206, headers, whole.body[first : last + 1])
