"""A reply must not make a worker call into its own network: result URLs are judged, and whom they really lead to."""

from __future__ import annotations

import asyncio
import io
import socket
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from api_servers import NAME, Proxy, Server, http

from airflow_provider_qwenimage.api import hosts
from airflow_provider_qwenimage.api.async_download import AsyncDownloader
from airflow_provider_qwenimage.api.async_session import open_session
from airflow_provider_qwenimage.api.download import Downloader
from airflow_provider_qwenimage.api.errors import ForbiddenHostError, ImageGoneError
from airflow_provider_qwenimage.api.retrying import NO_RETRIES
from airflow_provider_qwenimage.emulator import pictures

PNG = pictures.sample("png")
PICTURE = http(200, PNG, Content_Type="image/png")


@pytest.fixture(params=["worker", "public-session", "any-session"])
def fetch(request: pytest.FixtureRequest, loop: asyncio.AbstractEventLoop) -> Callable[..., Any]:
    """Fetch a URL, from public hosts only unless said: with the worker's downloader, or in a loop with a session."""

    async def in_loop(url: str, options: dict[str, Any]) -> bytes:
        file = io.BytesIO()
        async with open_session(public_only=request.param == "public-session") as session:
            await AsyncDownloader(**options).fetch(session, url, file)
        return file.getvalue()

    def act(url: str, **more: Any) -> bytes:
        options = {"public_only": True, "retries": NO_RETRIES, **more}
        if request.param != "worker":
            return loop.run_until_complete(in_loop(url, options))
        file = io.BytesIO()
        Downloader(**options).fetch(url, file)
        return file.getvalue()

    return act


@pytest.fixture
def inner() -> Iterator[Server]:
    """A server in the network that the worker stands in; nobody outside may make the worker call it."""
    with Server(PICTURE) as server:
        yield server


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "localhost",
        "LOCALHOST",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "0.0.0.0",
        "user:password@127.0.0.1",
    ],
)
def test_a_result_on_this_machine_is_refused(host: str, inner: Server, fetch: Any) -> None:
    """However this machine's address is written, it is not called, and the error names the host."""
    with pytest.raises(ForbiddenHostError) as raised:
        fetch(f"http://{host}:{inner.port}/images/a.png")
    assert "no public address" in str(raised.value)
    assert "password" not in str(raised.value)
    assert inner.requests == []


@pytest.mark.parametrize(
    "host",
    [
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "[fe80::1]",
        "[fd00::1]",
        "[fd00:ec2::254]",
        "[::]",
    ],
)
def test_a_result_in_a_private_network_is_refused(host: str, fetch: Any) -> None:
    """Private, shared and link-local addresses, those where clouds keep their secrets included, are not called."""
    with pytest.raises(ForbiddenHostError):
        fetch(f"http://{host}/latest/meta-data/iam/")


@pytest.mark.parametrize(
    "address",
    [
        "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b::",
        "64:ff9b:1::a00:1",
        "64:ff9b:1:a00:0:100::",
        "64:ff9b:1:0:a:0:500:0",
        "2002:7f00:1::",
        "2002:a9fe:a9fe::1",
        "2002:e000:1::",
        "::127.0.0.1",
        "::ffff:169.254.169.254",
        "::ffff:224.0.0.1",
        "::ffff:0:127.0.0.1",
        "fec0::1",
        "ff02::1",
        "ff0e::1",
        "4000::1",
        "224.0.0.1",
        "239.255.255.250",
        "192.0.0.192",
        "168.63.129.16",
    ],
)
def test_an_address_that_leads_inside_is_refused(address: str, monkeypatch: pytest.MonkeyPatch, fetch: Any) -> None:
    """So are those that a gateway or a tunnel turns into private ones, and groups; in a URL and behind a name."""
    with pytest.raises(ForbiddenHostError):
        fetch(f"http://[{address}]/a.png" if ":" in address else f"http://{address}/a.png")
    answering(monkeypatch, address)
    with pytest.raises(ForbiddenHostError):
        fetch("http://cdn.example/images/a.png")


@pytest.mark.parametrize(
    "address",
    [
        "93.184.216.34",
        "2606:2800:220:1:248:1893:25c8:1946",
        "64:ff9b::5db8:d822",
        "64:ff9b:1::5db8:d822",
        "2002:5db8:d822::1",
        "::ffff:93.184.216.34",
        "::93.184.216.34",
    ],
)
def test_a_public_address_is_public_however_it_is_reached(address: str) -> None:
    """Networks without IPv4 reach public hosts through a gateway: their images can be fetched too."""
    assert not hosts.is_private(f"http://[{address}]/a.png" if ":" in address else f"http://{address}/a.png")
    hosts.check_address(address, "cdn.example")


def answering(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    """Let every name resolve to these addresses when its host is judged: name servers are not ours to set up."""
    found = [(socket.AF_INET6 if ":" in one else socket.AF_INET, 1, 6, "", (one, 443)) for one in addresses]
    fake = SimpleNamespace(getaddrinfo=lambda *_, **__: found, SOCK_STREAM=socket.SOCK_STREAM)
    monkeypatch.setattr(hosts, "socket", fake)


@pytest.mark.parametrize("addresses", [["10.1.2.3"], ["93.184.216.34", "127.0.0.1"], ["fe80::1%eth0"]])
def test_a_name_that_leads_inside_is_refused(addresses: list[str], monkeypatch: pytest.MonkeyPatch, fetch: Any) -> None:
    """A public name of a private address is judged by the address, by all of them if there are several."""
    answering(monkeypatch, *addresses)
    with pytest.raises(ForbiddenHostError):
        fetch("http://cdn.example/images/a.png")


def test_a_name_that_changes_its_mind_is_refused(inner: Server, monkeypatch: pytest.MonkeyPatch, fetch: Any) -> None:
    """A name server that says public first and private a moment later gets nobody inside: no request is sent."""
    answering(monkeypatch, "93.184.216.34")
    with pytest.raises(ForbiddenHostError):
        fetch(f"http://localhost:{inner.port}/images/a.png")
    assert inner.requests == []


def test_a_redirect_inside_is_refused(inner: Server, monkeypatch: pytest.MonkeyPatch, fetch: Any) -> None:
    """Each redirect is judged like the URL itself."""
    with Server(http(302, Location=f"{inner.url}/images/a.png")) as outer:
        monkeypatch.setattr(hosts, "is_private", lambda url: not url.startswith(outer.url))
        monkeypatch.setattr(hosts, "_is_public", lambda address: True)
        with pytest.raises(ForbiddenHostError):
            fetch(f"{outer.url}/images/a.png")
        assert len(outer.requests) == 1
    assert inner.requests == []


@pytest.mark.parametrize("proxy_host", ["127.0.0.1", "localhost"])
def test_a_proxy_may_be_inside(fetch: Any, environment: Any, proxy_host: str) -> None:
    """Behind a proxy it is the proxy that resolves names and decides; where it stands itself does not matter."""
    with Proxy(PICTURE) as proxy:
        environment(http_proxy=f"http://{proxy_host}:{proxy.port}")
        assert fetch(f"http://{NAME}/a.png") == PNG


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/a", "gopher://127.0.0.1:6379/_SET"])
def test_a_redirect_to_another_scheme_is_refused(target: str, fetch: Any) -> None:
    """Only http and https are ever followed."""
    with Server(http(302, Location=target)) as server, pytest.raises(ImageGoneError, match="no http"):
        fetch(f"{server.url}/a.png", public_only=False)
