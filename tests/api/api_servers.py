"""Small servers on loopback that do what the emulator can't: speak TLS, stand in as a proxy, break HTTP itself."""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from hypothesis import HealthCheck, settings

NAME = "qwenimage.test"
KEY = "key_not_to_be_seen_0123456789abcdef"

bounded = settings(
    max_examples=100,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
"""For property tests: the same examples every time, and not too many."""

Answer = bytes | Callable[[socket.socket], Any]


def http(status: int, body: bytes = b"", **headers: str) -> bytes:
    """An HTTP answer, whole, after which the connection is closed."""
    fields = {
        "Content-Length": str(len(body)),
        "Connection": "close",
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    head = f"HTTP/1.1 {status} Something\r\n" + "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return head.encode("latin-1") + b"\r\n" + body


def envelope(data: Any = None, code: int = 1, **more: Any) -> bytes:
    """A reply of the service."""
    return json.dumps({"code": code, "message": "success", "data": data, **more}).encode()


CREDITS = http(200, envelope({"credits": 7}))
CREATED = http(200, envelope({"task_id": "abc", "estimated_time": 15}))


class Server:
    """Answers one request per connection: the first with the first answer and so on, the last one for ever.

    An answer is bytes, or a function that is given the connection. Requests are kept, as bytes, in ``requests``.
    A ``CONNECT`` request is granted and what follows in it is answered here too.
    """

    def __init__(self, *answers: Answer, tls: ssl.SSLContext | None = None, port: int = 0) -> None:
        self._answers = list(answers)
        self._tls = tls
        self._lock = threading.Lock()
        self._gone = threading.Event()
        self.requests: list[bytes] = []
        self._listener = socket.create_server(("127.0.0.1", port))
        self._listener.settimeout(1)
        self.port = self._listener.getsockname()[1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        self._threads = [threading.Thread(target=self._listen, daemon=True)]

    def __enter__(self) -> Server:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self._gone.set()
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()  # wakes the listening thread
        for thread in list(self._threads):
            thread.join(10)
        self._listener.close()

    @property
    def is_closing(self) -> bool:
        """Whether the test is over, so that an answer without end should end."""
        return self._gone.is_set()

    def wait(self, seconds: float) -> bool:
        """Pause within an answer; True if the test is over."""
        return self._gone.wait(seconds)

    def _listen(self) -> None:
        while not self._gone.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:  # of Python 3.10 too, where a time-out is no TimeoutError of the built-in kind
                continue
            if self._gone.is_set():
                connection.close()
                return
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        connection.settimeout(10)
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            stack.enter_context(connection)
            if self._tls and not self.is_proxy:
                connection = stack.enter_context(self._tls.wrap_socket(connection, server_side=True))
            request = _read_request(connection)
            if request.startswith(b"CONNECT ") and self._tls:
                self.requests.append(request)
                connection.sendall(b"HTTP/1.1 200 Connected\r\n\r\n")
                connection = stack.enter_context(self._tls.wrap_socket(connection, server_side=True))
                request = _read_request(connection)
            if request:
                self._answer(connection, request)

    is_proxy = False

    def _answer(self, connection: socket.socket, request: bytes) -> None:
        with self._lock:
            self.requests.append(request)
            answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if callable(answer):
            answer(connection)
        else:
            connection.sendall(answer)


class Proxy(Server):
    """An HTTP proxy that answers everything itself; with TLS it does so behind ``CONNECT``."""

    def __init__(self, *answers: Answer, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(*answers, tls=tls)
        self.is_proxy = True
        self.url = f"http://127.0.0.1:{self.port}"


class Raw(Server):
    """Hands each connection to its answer as it is, before anything is read from it."""

    def _serve(self, connection: socket.socket) -> None:
        connection.settimeout(10)
        with contextlib.suppress(OSError), connection:
            self._answer(connection, b"")


def _read_request(connection: socket.socket) -> bytes:
    received = b""
    while b"\r\n\r\n" not in received:
        piece = connection.recv(65_536)
        if not piece:
            return b""
        received += piece
    head, _, body = received.partition(b"\r\n\r\n")
    lengths = [line.split(b":")[1] for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
    while lengths and len(body) < int(lengths[0]):
        body += connection.recv(65_536)
    return head + b"\r\n\r\n" + body


def closed_port() -> int:
    """A port on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


@contextlib.contextmanager
def deaf_port() -> Iterator[int]:
    """A port on which connections are neither taken nor refused: its queue is full."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                waiting.connect(listener.getsockname())
        yield listener.getsockname()[1]


class Authority:
    """A throw-away certificate authority: ``bundle`` is the file to trust, ``server`` the context to serve with."""

    def __init__(self, folder: Path) -> None:
        key, name = ec.generate_private_key(ec.SECP256R1()), _name("Test authority")
        usage = {"digital_signature": True, "key_cert_sign": True, "crl_sign": True}
        certificate = (
            _certificate(name, key.public_key(), name)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage(**usage), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        self.bundle = folder / "authority.pem"
        self.bundle.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        self.server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.server.load_cert_chain(self._issue(folder, key, name))

    @staticmethod
    def _issue(folder: Path, authority_key: ec.EllipticCurvePrivateKey, authority: x509.Name) -> Path:
        key = ec.generate_private_key(ec.SECP256R1())
        hosts = [x509.DNSName(NAME), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key())
        certificate = (
            _certificate(_name(NAME), key.public_key(), authority)
            .add_extension(x509.SubjectAlternativeName(hosts), critical=False)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(identifier, critical=False)
            .sign(authority_key, hashes.SHA256())
        )
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        file = folder / "server.pem"
        file.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
        return file


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _certificate(subject: x509.Name, key: ec.EllipticCurvePublicKey, issuer: x509.Name) -> x509.CertificateBuilder:
    now, day = datetime.datetime.now(datetime.timezone.utc), datetime.timedelta(days=1)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key)
    return builder.serial_number(x509.random_serial_number()).not_valid_before(now - day).not_valid_after(now + day)


def _key_usage(**usage: bool) -> x509.KeyUsage:
    names = (
        "digital_signature content_commitment key_encipherment data_encipherment key_agreement key_cert_sign crl_sign "
        "encipher_only decipher_only"
    )
    return x509.KeyUsage(**{**dict.fromkeys(names.split(), False), **usage})
