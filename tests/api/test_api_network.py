"""What lies between us and the service: broken HTTP, redirects, proxies, certificates, dying connections."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
import traceback
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest
from api_servers import (
    CREATED,
    CREDITS,
    KEY,
    NAME,
    Authority,
    Proxy,
    Raw,
    Server,
    closed_port,
    deaf_port,
    envelope,
    http,
)

from airflow_provider_qwenimage.api.async_session import open_session
from airflow_provider_qwenimage.api.errors import (
    InvalidSettingsError,
    NotSentError,
    QwenImageError,
    ServiceError,
    TransientError,
    UnknownOutcomeError,
)
from airflow_provider_qwenimage.api.models import GenerationRequest
from airflow_provider_qwenimage.api.retrying import NO_RETRIES, Retries
from airflow_provider_qwenimage.emulator import Emulator

REQUEST = GenerationRequest(prompt="a lighthouse")
ONCE = {"retries": NO_RETRIES}
IMPATIENT = {"connect_timeout": 0.3, "read_timeout": 0.3}


def caught(act: Callable[..., Any], *arguments: Any) -> QwenImageError:
    """The error that a call ends in, after a look whether the key is in any text of it."""
    with pytest.raises(QwenImageError) as info:
        act(*arguments)
    assert KEY not in "".join(traceback.format_exception(info.value)) + repr(info.value)
    return info.value


# Broken HTTP


def reset(connection: socket.socket) -> None:
    """End the connection with a reset rather than an end."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    connection.close()


OK = b"HTTP/1.1 200 OK\r\n"
BROKEN = {
    "nothing": b"",
    "reset": reset,
    "not-http": b"SSH-2.0-OpenSSH_9.6\r\n",
    "binary": bytes(range(256)) * 4,
    "half-a-status-line": b"HTTP/1.1 2",
    "no-status": b"HTTP/1.1\r\n\r\n",
    "odd-status": b"HTTP/1.1 abc OK\r\n\r\n",
    "status-of-4-digits": b"HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n",
    "half-a-header": OK + b"Content-Le",
    "header-without-colon": OK + b"Content-Length\r\n\r\n",
    "endless-header": OK + b"X: " + b"x" * 200_000 + b"\r\n\r\n",
    "thousand-headers": OK + b"X: x\r\n" * 1000 + b"\r\n",
    "length-is-no-number": OK + b"Content-Length: many\r\n\r\n{}",
    "length-is-negative": OK + b"Content-Length: -5\r\n\r\n{}",
    "two-lengths": OK + b"Content-Length: 5\r\nContent-Length: 7\r\n\r\nhello",
    "body-too-short": OK + b"Content-Length: 500\r\n\r\n{}",
    "chunks-of-rubbish": OK + b"Transfer-Encoding: chunked\r\n\r\nrubbish\r\n\r\n",
    "chunks-end-early": OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhel",
    "no-last-chunk": OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n",
    "no-gzip": http(200, b"hello", Content_Encoding="gzip"),
    "half-a-gzip": http(200, b"\x1f\x8b\x08\x00\x00\x00\x00\x00", Content_Encoding="gzip"),
    "no-deflate": http(200, b"\xff\xffhello", Content_Encoding="deflate"),
    "only-continue": b"HTTP/1.1 100 Continue\r\n\r\n",
    "odd-charset": http(200, b"\x80\x81", Content_Type="text/html; charset=none"),
    "odd-cookie": http(200, b"x", Set_Cookie="\x01=\xff; Expires=never; Max-Age=x"),
    "switching": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    "odd-location": http(302, b"", Location="http://["),
    "odd-location-2": http(302, b"", Location="http://a..b/"),
    "odd-location-3": http(302, b"", Location="\xff\xfe"),
    "odd-location-4": http(307, b"", Location="gopher://127.0.0.1/"),
    "no-location": http(302),
    "old-http": b"HTTP/0.9 200 OK\r\n\r\n",
    "nul-in-header": OK + b"X: a\x00b\r\nContent-Length: 2\r\n\r\n{}",
}


@pytest.mark.parametrize("answer", BROKEN.values(), ids=BROKEN)
def test_broken_http_while_reading(either: Any, answer: Any) -> None:
    """Whatever comes instead of HTTP, a read ends in an error of ours that may be retried."""
    with Server(answer) as server:
        error = caught(either(server.url, **ONCE).get_credits)
        assert isinstance(error, ServiceError)
        assert error.retry_safe


@pytest.mark.parametrize("answer", BROKEN.values(), ids=BROKEN)
def test_broken_http_after_a_create(either: Any, answer: Any) -> None:
    """Whatever comes instead of HTTP, the create left and is not sent again."""
    with Server(answer, CREATED) as server:
        assert type(caught(either(server.url).create_task, REQUEST)) is UnknownOutcomeError
        assert len(server.requests) == 1


def test_a_read_gets_over_broken_http(either: Any) -> None:
    """The next attempt has a connection of its own."""
    with Server(reset, b"rubbish", b"", CREDITS) as server:
        assert either(server.url).get_credits() == 7


@pytest.mark.parametrize(
    "answer",
    [
        OK + b"\r\n" + envelope({"credits": 7}),
        OK
        + b"Transfer-Encoding: chunked\r\n\r\n"
        + b"1\r\n{\r\n"
        + b"22\r\n"
        + b'"code": 1, "data": {"credits": 7}}'
        + b"\r\n0\r\n\r\n",
        http(200, b"\xef\xbb\xbf" + envelope({"credits": 7})),
        http(201, envelope({"credits": 7}), Content_Type="text/plain"),
        b"HTTP/1.1 100 Continue\r\n\r\n" + CREDITS,
    ],
    ids=["until-the-end", "chunked", "byte-order-mark", "other-type", "after-continue"],
)
def test_unusual_but_right_http(either: Any, answer: bytes) -> None:
    """What HTTP allows is read."""
    with Server(answer) as server:
        assert either(server.url, **ONCE).get_credits() == 7


@pytest.mark.parametrize("piece", [b"x", b"X-More: x\r\n"], ids=["bytes", "lines"])
@pytest.mark.parametrize("start", [b"", OK, OK + b"X: "], ids=["status", "header", "value"])
def test_headers_that_trickle_end_within_the_time_outs(either: Any, piece: bytes, start: bytes) -> None:
    """Headers that keep coming do not keep a call alive either; a create is not sent again."""

    def trickle(connection: socket.socket) -> None:
        connection.sendall(start)
        while not server.wait(0.05):
            connection.sendall(piece)

    with Server(trickle) as server:
        began = time.monotonic()
        client = either(server.url, **ONCE, **IMPATIENT)
        assert type(caught(client.create_task, REQUEST)) is UnknownOutcomeError
        assert isinstance(caught(client.get_credits), ServiceError)
        assert time.monotonic() - began < 3
        assert len(server.requests) == 2


# Redirects


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(either: Any, status: int) -> None:
    """The key does not go to another place; a create has an unknown outcome, a read an error."""
    with Server(CREATED) as elsewhere, Server(http(status, b"", Location=f"{elsewhere.url}/x")) as server:
        assert type(caught(either(server.url).create_task, REQUEST)) is UnknownOutcomeError
        error = caught(either(server.url, **ONCE).get_credits)
        assert isinstance(error, ServiceError)
        assert error.http_status == status
        assert len(server.requests) == 2
        assert elsewhere.requests == []


def test_the_body_of_a_redirect_is_limited_too(either: Any) -> None:
    """A redirect is an answer like any other: neither its length nor its time is without limit."""
    ended: list[float] = []

    def endless(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:9/\r\n\r\n")
        try:
            for _ in range(100):
                connection.sendall(b"x" * 100)
                if server.wait(0.05):
                    break
        finally:
            ended.append(time.monotonic())

    with Server(endless) as server:
        start = time.monotonic()
        assert isinstance(caught(either(server.url, **ONCE, **IMPATIENT).get_credits), ServiceError)
        assert time.monotonic() - start < 2


# Kept connections


def kept(answer: bytes) -> bytes:
    """The answer of a server that keeps the connection, or says so."""
    return answer.replace(b"Connection: close\r\n", b"")


def closes_after(answer: bytes) -> Callable[[socket.socket], None]:
    """Answer as if the connection were kept, and close it: what a server does whose idle time is over."""

    def act(connection: socket.socket) -> None:
        connection.sendall(kept(answer))
        connection.close()

    return act


def test_a_create_after_a_kept_connection_has_died(either: Any) -> None:
    """A connection that the service closed between two calls does not make a create an unknown outcome."""
    with Server(closes_after(CREDITS), closes_after(CREATED)) as server:
        client = either(server.url, **ONCE)
        assert client.get_credits() == 7
        for _ in range(3):
            assert client.create_task(REQUEST).generation_id == "abc"
        assert len(server.requests) == 4


def test_a_create_does_not_use_a_kept_connection(either: Any) -> None:
    """One that dies at the very moment of the next request would leave a create in doubt: it takes a new one."""

    def dies_in_use(connection: socket.socket) -> None:
        connection.sendall(kept(CREDITS))
        connection.recv(65_536)
        reset(connection)

    with Server(dies_in_use, kept(CREATED)) as server:
        client = either(server.url, **ONCE)
        assert client.get_credits() == 7
        assert client.create_task(REQUEST).generation_id == "abc"
        client.close()


def test_creates_may_share_a_session_that_keeps_no_connections(connect_async: Any) -> None:
    """Whoever buys many times opens one for all: it is used, with a connection for each create, and stays open."""
    connections: list[Any] = []

    async def note(*_: Any) -> None:
        connections.append(None)

    with Server(kept(CREATED)) as server:
        client = connect_async(server.url, **ONCE)

        async def buy() -> None:
            async with open_session(keep=False) as session:
                session.trace_configs[:] = [trace := aiohttp.TraceConfig()]
                trace.on_connection_create_end.append(note)
                trace.freeze()
                for _ in range(3):
                    assert (await client.client.create_task(session, REQUEST)).generation_id == "abc"
                assert not session.closed

        client.run(buy())
        assert (len(server.requests), len(connections)) == (3, 3)


def test_a_create_that_gets_no_connection_was_not_sent(connect_async: Any) -> None:
    """It waits for its turn as long as for a connection, and then has all its time for the answer."""
    with Server(lambda _: server.wait(2), CREATED) as server:
        client = connect_async(server.url, **ONCE, connect_timeout=0.3, read_timeout=5)

        async def buy() -> None:
            async with open_session(keep=False, connections=1) as session:
                first = asyncio.ensure_future(client.client.create_task(session, REQUEST))
                while not server.requests:  # noqa: ASYNC110 - the server runs in another thread
                    await asyncio.sleep(0.01)
                with pytest.raises(NotSentError):
                    await client.client.create_task(session, REQUEST)
                first.cancel()

        client.run(buy())
        assert len(server.requests) == 1


def test_a_read_after_a_kept_connection_has_died(either: Any) -> None:
    """A read at most needs one more attempt."""
    with Server(closes_after(CREDITS)) as server:
        client = either(server.url, retries=Retries(attempts=2))
        assert [client.get_credits() for _ in range(5)] == [7] * 5


def test_reads_share_a_connection(emulator: Emulator, either: Any) -> None:
    """Polling does not open a connection per poll."""
    accepted: list[Any] = []

    def answer_many(connection: socket.socket) -> None:
        accepted.append(connection)
        connection.sendall(kept(CREDITS))
        while connection.recv(65_536):
            connection.sendall(kept(CREDITS))

    with Server(answer_many) as server:
        client = either(server.url)
        assert [client.get_credits() for _ in range(5)] == [7] * 5
        assert len(accepted) == 1
        client.close()


# Connecting


def test_a_connection_that_does_not_stand_in_time(either: Any) -> None:
    """Nothing was sent, so a create may be sent again."""
    with deaf_port() as port:
        url = f"http://127.0.0.1:{port}"
        error = caught(either(url, **ONCE, **IMPATIENT).create_task, REQUEST)
        assert type(error) is NotSentError
        assert "no answer in time" in error.message
        assert type(caught(either(url, **ONCE, **IMPATIENT).get_credits)) is NotSentError


def test_a_name_that_can_not_be_resolved(either: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing was sent, and the error says what is wrong."""

    def fail(*_: Any, **__: Any) -> None:  # a mock: name servers are not ours to break
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    url = f"http://{NAME}"
    for act in (lambda: either(url, **ONCE).create_task(REQUEST), either(url, **ONCE).get_credits):
        error = caught(act)
        assert type(error) is NotSentError
        assert f"{NAME} for the" in error.message
        assert "name can't be resolved" in error.message


@pytest.mark.parametrize("host", ["*", "*.example", "-", "a_b", "xn--", "256.256.256.256", "[v1.x]", "%41", "ß..x"])
def test_strange_hosts(either: Any, host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is no host ends in an error of ours before anything is sent."""

    def fail(*_: Any, **__: Any) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)

    def create() -> None:
        either(f"http://{host}", **ONCE).create_task(REQUEST)

    assert not isinstance(caught(create), UnknownOutcomeError)
    caught(lambda: either(f"http://{host}", **ONCE).get_credits())


# Proxies

ENVIRONMENTS = {
    "upper": ("HTTP_PROXY", "{}"),
    "lower": ("http_proxy", "{}"),
    "all": ("ALL_PROXY", "{}"),
    "without-scheme": ("http_proxy", "127.0.0.1:{port}"),
    "with-login": ("http_proxy", "http://user:pass%40word@127.0.0.1:{port}"),
    "with-slash": ("http_proxy", "{}/"),
}


@pytest.mark.parametrize(("name", "value"), ENVIRONMENTS.values(), ids=ENVIRONMENTS)
def test_requests_go_through_the_proxy_of_the_environment(either: Any, environment: Any, name: str, value: str) -> None:
    """Both clients take the proxy that requests would take, in each of its spellings."""
    with Proxy(CREDITS, CREATED) as proxy:
        environment(**{name: value.format(proxy.url, port=proxy.port)})
        url = f"http://{NAME}:8089"
        assert either(url, **ONCE).get_credits() == 7
        assert either(url, **ONCE).create_task(REQUEST).generation_id == "abc"
        read, create = proxy.requests
        assert read.startswith(f"POST {url}/api/task/get_credits HTTP/1.1\r\n".encode())
        assert create.startswith(f"POST {url}/api/task/create HTTP/1.1\r\n".encode())
        login = b"proxy-authorization: basic dxnlcjpwyxnzqhdvcmq="  # user:pass@word
        assert [login in request.lower() for request in proxy.requests] == [
            name + value == "http_proxyhttp://user:pass%40word@127.0.0.1:{port}"
        ] * 2


@pytest.mark.parametrize("no_proxy", ["127.0.0.1", "127.0.0.0/8", "*", "localhost,127.0.0.1"])
@pytest.mark.parametrize("name", ["no_proxy", "NO_PROXY"])
def test_no_proxy_is_honoured(emulator: Emulator, either: Any, environment: Any, no_proxy: str, name: str) -> None:
    """Hosts that are excepted are reached directly."""
    environment(http_proxy=f"http://127.0.0.1:{closed_port()}", **{name: no_proxy})
    assert either(emulator.url, **ONCE).get_credits() == 1000
    assert either(emulator.url, **ONCE).create_task(REQUEST).generation_id


def test_no_proxy_for_other_hosts(either: Any, environment: Any) -> None:
    """An exception for one host is none for another."""
    with Proxy(CREDITS) as proxy:
        environment(http_proxy=proxy.url, no_proxy="example.org,127.0.0.1")
        assert either(f"http://{NAME}", **ONCE).get_credits() == 7


def test_a_proxy_that_is_not_there(either: Any, environment: Any) -> None:
    """Nothing was sent, so that is no unknown outcome."""
    environment(http_proxy=f"http://127.0.0.1:{closed_port()}")
    url = f"http://{NAME}"
    for act in (lambda: either(url, **ONCE).create_task(REQUEST), either(url, **ONCE).get_credits):
        error = caught(act)
        assert type(error) is NotSentError
        assert "proxy" in error.message


@pytest.mark.parametrize("answer", [b"", reset, b"HTTP/1.1 2", b"rubbish"], ids=["end", "reset", "half", "rubbish"])
def test_a_proxy_that_loses_the_answer_to_a_create(either: Any, environment: Any, answer: Any) -> None:
    """The proxy took the request and may have passed it on: it must not be sent again."""
    with Proxy(answer, CREATED) as proxy:
        environment(http_proxy=proxy.url)
        assert type(caught(either(f"http://{NAME}").create_task, REQUEST)) is UnknownOutcomeError
        assert len(proxy.requests) == 1


def test_a_proxy_that_does_not_answer_a_create(either: Any, environment: Any) -> None:
    """The same if it stays silent."""
    with Proxy(lambda _: proxy.wait(1), CREATED) as proxy:
        environment(http_proxy=proxy.url)
        assert type(caught(either(f"http://{NAME}", **IMPATIENT).create_task, REQUEST)) is UnknownOutcomeError
        assert len(proxy.requests) == 1


@pytest.mark.parametrize("status", [502, 504])
def test_a_proxy_that_reports_a_failure(either: Any, environment: Any, status: int) -> None:
    """The page of a proxy that could not get an answer from the service leaves the outcome unknown."""
    with Proxy(http(status, b"<html>Bad Gateway</html>")) as proxy:
        environment(http_proxy=proxy.url)
        assert type(caught(either(f"http://{NAME}").create_task, REQUEST)) is UnknownOutcomeError
        assert len(proxy.requests) == 1


@pytest.mark.parametrize(
    "address", ["http://[::1", "http://h:99999", "http://", "http://a..b", "http://*", "[", "nonsense://x"]
)
def test_a_proxy_whose_address_can_not_be_used(either: Any, environment: Any, address: str) -> None:
    """A mistyped proxy is an error of ours, and nothing was sent."""
    environment(http_proxy=address)
    url = f"http://127.0.0.1:{closed_port()}"
    assert type(caught(lambda: either(url, **ONCE).create_task(REQUEST))) in {NotSentError, InvalidSettingsError}
    assert isinstance(caught(lambda: either(url, **ONCE).get_credits()), (TransientError, InvalidSettingsError))


def test_a_proxy_of_a_kind_that_we_can_not_use(either: Any, environment: Any) -> None:
    """A socks proxy needs more than requests and aiohttp: an error of ours, and nothing was sent."""
    environment(http_proxy=f"socks5://127.0.0.1:{closed_port()}")
    url = f"http://{NAME}"
    for act in (lambda: either(url, **ONCE).create_task(REQUEST), lambda: either(url, **ONCE).get_credits()):
        assert type(caught(act)) in {NotSentError, InvalidSettingsError}


# Certificates


@pytest.fixture
def https(authority: Authority) -> Any:
    """The service behind TLS, with a certificate that nobody trusts unless told so."""
    with Server(CREDITS, CREATED, tls=authority.server) as server:
        yield server


@pytest.mark.parametrize("name", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
@pytest.mark.parametrize("scheme", ["https", "HTTPS"])
def test_a_ca_bundle_from_the_environment(
    https: Server, either: Any, environment: Any, authority: Authority, name: str, scheme: str
) -> None:
    """Both clients trust what requests would trust."""
    environment(**{name: str(authority.bundle)})
    url = https.url.replace("https", scheme)
    assert either(url, **ONCE).get_credits() == 7
    assert either(url, **ONCE).create_task(REQUEST).generation_id == "abc"


def test_requests_ca_bundle_goes_first(
    https: Server, either: Any, environment: Any, authority: Authority, tmp_path: Any
) -> None:
    """Of two bundles, the one of requests is used."""
    environment(REQUESTS_CA_BUNDLE=str(authority.bundle), CURL_CA_BUNDLE=str(tmp_path / "none.pem"))
    assert either(https.url, **ONCE).get_credits() == 7


def test_a_certificate_that_is_not_trusted(https: Server, either: Any, environment: Any) -> None:
    """Nothing was sent; the error says what is wrong and where to look."""
    environment()
    for act in (lambda: either(https.url, **ONCE).create_task(REQUEST), either(https.url, **ONCE).get_credits):
        error = caught(act)
        assert type(error) is NotSentError
        assert "certificate is not trusted" in error.message
        assert "certificates of this machine" in str(error)
    assert https.requests == []


def test_a_certificate_for_another_name(https: Server, either: Any, environment: Any, authority: Authority) -> None:
    """A trusted certificate of another host is not enough."""
    environment(REQUESTS_CA_BUNDLE=str(authority.bundle))
    url = https.url.replace("127.0.0.1", "localhost")
    for act in (lambda: either(url, **ONCE).create_task(REQUEST), either(url, **ONCE).get_credits):
        assert type(caught(act)) is NotSentError
    assert https.requests == []


def test_a_bundle_that_is_not_there(https: Server, either: Any, environment: Any, tmp_path: Any) -> None:
    """A wrong path ends in an error of ours, and nothing is sent."""
    environment(REQUESTS_CA_BUNDLE=str(tmp_path / "none.pem"))
    for act in (
        lambda: either(https.url, **ONCE).create_task(REQUEST),
        lambda: either(https.url, **ONCE).get_credits(),
    ):
        error = caught(act)
        assert not isinstance(error, UnknownOutcomeError)
        assert "none.pem" in str(error)
    assert https.requests == []


def test_a_server_that_speaks_no_tls(emulator: Emulator, either: Any, environment: Any) -> None:
    """http:// and https:// are easily mixed up: nothing was sent, the error says what is wrong, no request arrives."""
    environment()
    client = either(emulator.url.replace("http:", "https:"), **ONCE)
    for act in (lambda: client.create_task(REQUEST), client.get_credits):
        error = caught(act)
        assert type(error) is NotSentError
        assert "no TLS (https)" in error.message
    assert emulator.requests() == []


@pytest.mark.parametrize("answer", [b"", reset, b"\x15\x03\x01\x00\x02\x02\x28"], ids=["end", "reset", "alert"])
def test_a_handshake_that_breaks(either: Any, environment: Any, answer: Any) -> None:
    """No TLS, nothing sent: a create may be sent again."""

    def breaks(connection: socket.socket) -> None:
        connection.recv(65_536)
        if callable(answer):
            answer(connection)
        else:
            connection.sendall(answer)

    environment()
    with Raw(breaks) as server:
        client = either(f"https://127.0.0.1:{server.port}", retries=Retries(attempts=2))
        assert type(caught(client.create_task, REQUEST)) is NotSentError
        assert len(client.sleeps) == 1


def test_tls_through_a_proxy(either: Any, environment: Any, authority: Authority) -> None:
    """Behind a proxy the service is reached through a tunnel, and the proxy does not see the key."""
    with Proxy(CREDITS, CREATED, tls=authority.server) as proxy:
        environment(https_proxy=proxy.url, REQUESTS_CA_BUNDLE=str(authority.bundle))
        url = f"https://{NAME}"
        assert either(url, **ONCE).get_credits() == 7
        assert either(url, **ONCE).create_task(REQUEST).generation_id == "abc"
        tunnels = [request for request in proxy.requests if request.startswith(b"CONNECT ")]
        assert len(tunnels) == 2
        for request in tunnels:
            assert request.startswith(f"CONNECT {NAME}:443 HTTP/1.".encode())
            assert KEY.encode() not in request


def test_a_proxy_that_refuses_a_tunnel(either: Any, environment: Any) -> None:
    """No tunnel, nothing sent."""
    with Proxy(http(407, b"who are you?")) as proxy:
        environment(https_proxy=proxy.url)
        url = f"https://{NAME}"
        assert type(caught(either(url, **ONCE).create_task, REQUEST)) is NotSentError
        assert isinstance(caught(either(url, **ONCE).get_credits), TransientError)


LOST = {"end": b"", "reset": reset, "half": b"HTTP/1.1 2", "rubbish": b"rubbish", "page": http(502, b"<html>Sorry")}


@pytest.mark.parametrize("answer", LOST.values(), ids=LOST)
def test_a_proxy_that_loses_a_tunnel(either: Any, environment: Any, answer: Any) -> None:
    """However the attempt to get a tunnel ends, the create was not sent through it."""
    with Proxy(answer) as proxy:
        environment(https_proxy=proxy.url)
        assert type(caught(either(f"https://{NAME}", **ONCE).create_task, REQUEST)) is NotSentError
        assert [request.split(b" ")[0] for request in proxy.requests] == [b"CONNECT"]


def test_a_proxy_that_is_silent_about_a_tunnel(either: Any, environment: Any) -> None:
    """The same if it says nothing, or says it byte by byte."""

    def trickle(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n")
        while not proxy.wait(0.1):
            connection.sendall(b"X: x\r\n")

    for answer in (lambda _: proxy.wait(2), trickle):
        with Proxy(answer) as proxy:
            environment(https_proxy=proxy.url)
            start = time.monotonic()
            assert type(caught(either(f"https://{NAME}", **ONCE, **IMPATIENT).create_task, REQUEST)) is NotSentError
            assert time.monotonic() - start < 1.9


def test_a_tls_connection_that_breaks_after_a_create(either: Any, environment: Any, authority: Authority) -> None:
    """Once the request went through the handshake, its outcome is unknown."""
    for answer in (b"", reset, b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{"):
        with Server(answer, CREATED, tls=authority.server) as server:
            environment(REQUESTS_CA_BUNDLE=str(authority.bundle))
            assert type(caught(either(server.url).create_task, REQUEST)) is UnknownOutcomeError
            assert len(server.requests) == 1


def test_certificates_are_loaded_once(environment: Any, connect_async: Callable[..., Any]) -> None:
    """Loading them takes some 20 ms, too long to do for each of thousands of waits."""
    environment()
    contexts = {id(connect_async("https://127.0.0.1").client._tls) for _ in range(3)}
    assert len(contexts) == 1
    assert isinstance(connect_async("https://127.0.0.1").client._tls, ssl.SSLContext)
