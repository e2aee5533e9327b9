"""The hook: every shape of an Airflow connection, the Test button, the form, the calls."""

from __future__ import annotations

import json
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import distributions
from typing import Any
from urllib.parse import quote

import pytest

from airflow_provider_qwenimage._compat import AIRFLOW, AirflowException, AirflowFailException
from airflow_provider_qwenimage.api import errors
from airflow_provider_qwenimage.api.models import GenerationRequest, GenerationStatus
from airflow_provider_qwenimage.emulator import Emulator
from airflow_provider_qwenimage.hooks import QwenImageHook
from airflow_provider_qwenimage.provider_info import get_provider_info

KEY = "key_0f9e8d7c6b5a49382716"
SERVICE = "https://api.pixwith.ai"
VARIABLE = "AIRFLOW_CONN_QWENIMAGE_DEFAULT"


def as_json(**fields: Any) -> str:
    return json.dumps({"conn_type": "qwenimage", "password": KEY, **fields})


@pytest.mark.parametrize(
    ("connection", "base_url"),
    [
        (f"qwenimage://:{KEY}@", SERVICE),
        (f"qwenimage://:{KEY}@/", SERVICE),
        (f"qwenimage://:{KEY}%0A@", SERVICE),
        (f"qwenimage://:{KEY}@api.pixwith.ai", SERVICE),
        (f"qwenimage://:{KEY}@api.pixwith.ai/https", SERVICE),
        (f"qwenimage://:{KEY}@api.pixwith.ai:8443", f"{SERVICE}:8443"),
        (f"qwenimage://:{KEY}@api.pixwith.ai:0", SERVICE),
        (f"qwenimage://:{KEY}@https%3A%2F%2Fapi.pixwith.ai%2F", SERVICE),
        (f"qwenimage://https://:{KEY}@api.pixwith.ai", SERVICE),
        (f"qwenimage://:{KEY}@https%3A%2F%2Fgate.example.com%2Fpixwith%2F", "https://gate.example.com/pixwith"),
        (f"qwenimage://:{KEY}@gate.example.com/http", "http://gate.example.com"),
        (f"qwenimage://:{KEY}@http%3A%2F%2F127.0.0.1%3A8089", "http://127.0.0.1:8089"),
        (f"qwenimage://http://:{KEY}@127.0.0.1:8089", "http://127.0.0.1:8089"),
        (f"qwenimage://:{KEY}@127.0.0.1:8089", "http://127.0.0.1:8089"),
        (f"qwenimage://:{KEY}@127.0.0.1:8089/https", "https://127.0.0.1:8089"),
        (f"qwenimage://:{KEY}@localhost:8089", "http://localhost:8089"),
        (f"qwenimage://:{KEY}@[::1]:8089", "http://[::1]:8089"),
        (f"qwenimage://:{KEY}@%5B%3A%3A1%5D:8089", "http://[::1]:8089"),
        (as_json(), SERVICE),
        (as_json(host=""), SERVICE),
        (as_json(host=None), SERVICE),
        (as_json(host=" https://api.pixwith.ai/ "), SERVICE),
        (as_json(host="api.pixwith.ai", schema="https"), SERVICE),
        (as_json(host="api.pixwith.ai", schema=""), SERVICE),
        (as_json(host="HTTPS://api.pixwith.ai"), SERVICE),
        (as_json(host="http://127.0.0.1:8089"), "http://127.0.0.1:8089"),
        (as_json(host="http://127.0.0.1", port=8089), "http://127.0.0.1:8089"),
        (as_json(host="http://127.0.0.1:8089", port=0), "http://127.0.0.1:8089"),
        (as_json(host="http://127.0.0.1:8089", port=8089), "http://127.0.0.1:8089"),
        (as_json(host="127.0.0.1", port=8089, schema="http"), "http://127.0.0.1:8089"),
        (as_json(host="127.0.0.1", port="8089"), "http://127.0.0.1:8089"),
        (as_json(host="::1", port=8089), "http://[::1]:8089"),
        (as_json(host="gate.example.com/pixwith", port=8443), "https://gate.example.com:8443/pixwith"),
        (as_json(host="https://gate.example.com/pixwith/v2/"), "https://gate.example.com/pixwith/v2"),
    ],
)
def test_address_and_key_of_a_connection(connection: str, base_url: str, monkeypatch: pytest.MonkeyPatch):
    """Each way to write a connection leads to the address that its author meant, and to the key."""
    monkeypatch.setenv(VARIABLE, connection)
    settings = QwenImageHook().get_settings()
    assert (settings.base_url, settings.api_key) == (base_url, KEY)
    assert settings.url("/api/task/get") == f"{base_url}/api/task/get"
    assert KEY not in repr(settings)


@pytest.mark.parametrize(
    ("connection", "timeouts"),
    [
        (as_json(), (10, 30)),
        (as_json(extra={}), (10, 30)),
        (as_json(extra={"connect_timeout": 5, "read_timeout": 60.5}), (5, 60.5)),
        (as_json(extra={"connect_timeout": "5", "read_timeout": " 60 "}), (5, 60)),
        (as_json(extra='{"read_timeout": 60}'), (10, 60)),
        (as_json(extra={"connect_timeout": "", "read_timeout": None}), (10, 30)),
        (as_json(extra={"something": "else"}), (10, 30)),
        (f"qwenimage://:{KEY}@api.pixwith.ai?read_timeout=60&connect_timeout=5", (5, 60)),
        (f"qwenimage://:{KEY}@?read_timeout=60", (10, 60)),
    ],
)
def test_timeouts_of_a_connection(connection: str, timeouts: tuple[float, float], monkeypatch: pytest.MonkeyPatch):
    """Time-outs may be numbers, texts or missing."""
    monkeypatch.setenv(VARIABLE, connection)
    settings = QwenImageHook().get_settings()
    assert (settings.connect_timeout, settings.read_timeout) == timeouts


@pytest.mark.parametrize(
    ("connection", "says"),
    [
        ("qwenimage://", "There is no API key"),
        ("qwenimage://api.pixwith.ai", "There is no API key"),
        (f"qwenimage://{KEY}@api.pixwith.ai", "There is no API key"),
        (as_json(password=None), "There is no API key"),
        (as_json(password=""), "There is no API key"),
        (as_json(password=" \n"), "There is no API key"),
        (as_json(password=f"{KEY}\nApi-Key: other"), "paste it again"),
        (as_json(password=f"{KEY} {KEY}"), "paste it again"),
        (as_json(password=f"{KEY}\u2026"), "paste it again"),
        (f"qwenimage://:{quote(KEY + chr(13) + chr(10) + 'X: y')}@", "paste it again"),
        (as_json(host="exa mple.com"), "base URL must look like"),
        (as_json(host="ftp://api.pixwith.ai"), "base URL must look like"),
        (as_json(host="http://"), "base URL must look like"),
        (as_json(host="https:///"), "base URL must look like"),
        (as_json(host="https://api.pixwith.ai:port"), "base URL must look like"),
        (as_json(host="api.pixwith.ai?key=1"), "base URL must look like"),
        (as_json(extra={"read_timeout": "soon"}), "read_timeout must be a number"),
        (as_json(extra={"read_timeout": [1]}), "read_timeout must be a number"),
        (as_json(extra={"read_timeout": True}), "read_timeout must be a number"),
        (as_json(extra={"read_timeout": "inf"}), "at most 86,400 seconds"),
        (as_json(extra={"read_timeout": "nan"}), "more than 0"),
        (as_json(extra={"connect_timeout": 1e300}), "at most 86,400 seconds"),
        (as_json(extra={"connect_timeout": 0}), "more than 0"),
        (as_json(extra={"connect_timeout": "-1"}), "more than 0"),
        pytest.param(
            as_json(extra="[1]"),
            "extra must be a JSON object",
            marks=pytest.mark.skipif(AIRFLOW in {(3, 0), (3, 1)}, reason="this Airflow takes it for no connection"),
        ),
    ],
)
def test_a_connection_that_can_not_be_used(connection: str, says: str, monkeypatch: pytest.MonkeyPatch):
    """One final error tells what is wrong with which connection and where things belong; it never shows the key."""
    monkeypatch.setenv(VARIABLE, connection)
    hook = QwenImageHook()
    for call in (hook.get_settings, hook.get_conn, hook.get_async_conn, hook.get_credits):
        with pytest.raises(errors.InvalidSettingsError, match=says) as raised:
            call()
        assert isinstance(raised.value, AirflowFailException)
        assert "connection 'qwenimage_default'" in str(raised.value)
        assert "password field" in str(raised.value)
        assert KEY not in str(raised.value) + repr(raised.value)
        # Sentry and Airflow 3.0's console show the variables of all frames; the first is that of this test.
        below = raised.value.with_traceback(raised.tb.tb_next)
        shown = "".join(traceback.TracebackException.from_exception(below, capture_locals=True).format())
        assert "hooks.py" in shown
        assert KEY not in shown
    assert hook.test_connection() == (False, str(raised.value))


def test_nothing_is_looked_up_when_the_hook_is_made(monkeypatch: pytest.MonkeyPatch):
    """Making a hook, as operators do while a DAG is parsed, asks no secrets backend."""
    monkeypatch.setattr(QwenImageHook, "get_connection", staticmethod(lambda conn_id: pytest.fail("looked up")))
    assert QwenImageHook("other").qwenimage_conn_id == "other"


def test_a_connection_that_is_not_there(airflow: Any, monkeypatch: pytest.MonkeyPatch):
    """A missing connection is Airflow's own error, which names it."""
    monkeypatch.delenv(VARIABLE, raising=False)
    with pytest.raises(AirflowException, match="qwenimage_default"):
        QwenImageHook().get_settings()


def test_a_uri_that_airflow_refuses(airflow: Any, monkeypatch: pytest.MonkeyPatch):
    """Airflow takes a scheme before the key or encoded, not in between: its error names the connection, not the key."""
    monkeypatch.setenv(VARIABLE, f"qwenimage://:{KEY}@http://127.0.0.1:8089")
    with pytest.raises(AirflowException, match="qwenimage_default") as raised:
        QwenImageHook().get_settings()
    assert KEY not in str(raised.value)


class TestTheTestButton:
    """test_connection, which the UI and ``airflow connections test`` call."""

    def test_all_is_well(self, service: Emulator):
        """A right key is told the balance, at no cost."""
        assert QwenImageHook().test_connection() == (
            True,
            "The service answers and accepts the API key; the account has 1000 credits.",
        )
        assert service.report()["credits_spent"] == 0

    def test_wrong_key(self, service: Emulator, monkeypatch: pytest.MonkeyPatch):
        """A wrong key is called that, and where it belongs is said."""
        monkeypatch.setenv(VARIABLE, f"qwenimage://:{KEY}@{service.url.removeprefix('http://')}")
        good, text = QwenImageHook().test_connection()
        assert not good
        assert "Invalid API KEY" in text
        assert "Check the API key in the password field" in text
        assert KEY not in text

    def test_nobody_there(self, monkeypatch: pytest.MonkeyPatch):
        """A host that does not answer is named, with what to look at."""
        monkeypatch.setattr("airflow_provider_qwenimage.api.retrying.Retries._wait", lambda self, state: 0.0)
        monkeypatch.setenv(VARIABLE, f"qwenimage://:{KEY}@127.0.0.1:1")
        good, text = QwenImageHook().test_connection()
        assert not good
        assert text.startswith("Could not connect to 127.0.0.1:1")
        assert "Check the base URL in the connection" in text

    @pytest.mark.parametrize("status", [200, 403, 404, 405])
    def test_somebody_else_there(self, status: int, monkeypatch: pytest.MonkeyPatch):
        """A web server that is not the service is told from one that is."""
        monkeypatch.setattr("airflow_provider_qwenimage.api.retrying.Retries._wait", lambda self, state: 0.0)
        with _web_server(status, b"<!DOCTYPE html><title>Welcome</title>") as authority:
            monkeypatch.setenv(VARIABLE, f"qwenimage://:{KEY}@{authority}")
            good, text = QwenImageHook().test_connection()
        assert not good
        assert text.startswith(f"{authority} answers, but not as the Qwen Image service does.")

    @pytest.mark.parametrize("key", ["right", "wrong"])
    def test_through_airflows_own_connection(self, key: str, service: Emulator):
        """Airflow finds the hook by the connection's type, and calls it."""
        from airflow.models.connection import Connection

        password = service.api_key if key == "right" else KEY
        connection = Connection(conn_id="mine", conn_type="qwenimage", host=service.url, password=password)
        with _as_airflow_tests_it(connection):
            good, text = connection.test_connection()
        assert good == (key == "right"), text
        assert password not in text

    def test_through_airflows_own_connection_on_a_worker(self, service: Emulator):
        """The same from the side of Airflow's task SDK, where there is one."""
        definitions = pytest.importorskip("airflow.sdk.definitions.connection", reason="Airflow 2 has no task SDK")
        connection = definitions.Connection(
            conn_id="mine", conn_type="qwenimage", host=service.url, password=service.api_key
        )
        if not hasattr(connection, "test_connection"):
            pytest.skip("this task SDK can't test connections")
        assert connection.test_connection()[0]


def test_the_form_is_described_once():
    """What the hook tells the forms of Airflow 2.11 to 3.1 is what the provider info tells those of 3.2 and later."""
    (info,) = get_provider_info()["connection-types"]
    old = QwenImageHook.get_ui_field_behaviour()
    new = info["ui-field-behaviour"]
    assert {name.replace("_", "-"): value for name, value in old.items()} == new
    assert (info["connection-type"], info["hook-name"]) == (QwenImageHook.conn_type, QwenImageHook.hook_name)
    assert info["hook-class-name"] == f"{QwenImageHook.__module__}.{QwenImageHook.__qualname__}"
    assert set(info["conn-fields"]) == {"connect_timeout", "read_timeout"}


# Not by an import: the API server of Airflow 3.1 and 3.2 puts mocks in their places.
@pytest.mark.skipif(not list(distributions(name="flask-appbuilder")), reason="only the FAB form has widgets")
def test_the_forms_widgets():
    """The widgets of the old form have the labels and defaults of the new one's fields."""
    (info,) = get_provider_info()["connection-types"]
    widgets = QwenImageHook.get_connection_form_widgets()
    assert set(widgets) == set(info["conn-fields"])
    for name, widget in widgets.items():
        field = info["conn-fields"][name]
        assert str(widget.args[0]) == field["label"]
        assert widget.kwargs["default"] == field["schema"]["default"]
        assert widget.kwargs["description"] == field["description"]


class TestTheCalls:
    """create, get, credits and the wait, from a plain Python task's point of view."""

    def test_from_request_to_urls(self, service: Emulator):
        """A generation is bought, waited for and delivered in three calls."""
        hook = QwenImageHook()
        submission = hook.create_task(GenerationRequest(prompt="a kite", num_outputs=3))
        assert submission.estimated_time == 1
        generation = hook.wait_for_task(submission.generation_id)
        assert generation.status is GenerationStatus.COMPLETED
        assert len(generation.result_urls) == 3
        assert hook.get_task(submission.generation_id) == generation
        assert hook.get_credits() == 997
        assert service.report()["violations"] == []

    def test_one_client_for_all_calls(self, service: Emulator):
        """The connection is looked up once for all calls of a hook."""
        hook = QwenImageHook()
        assert hook.get_conn() is hook.get_conn()

    def test_a_time_out_of_the_wait(self, service: Emulator):
        """The time is counted from submission; one last poll is made when it is over."""
        service.plan("create", "stuck")
        hook = QwenImageHook()
        generation_id = hook.create_task(GenerationRequest(prompt="a kite")).generation_id
        with pytest.raises(errors.GenerationTimeoutError, match="still processing") as raised:
            hook.wait_for_task(generation_id, timeout=100, submitted_at=time.time() - 1000)
        assert raised.value.generation_id == generation_id
        assert isinstance(raised.value, AirflowException)
        assert not isinstance(raised.value, AirflowFailException)
        assert service.report()["requests"]["get"] == 1

    def test_stopping_the_wait(self, service: Emulator):
        """Setting ``stop`` ends a wait at once that would go on for an hour."""
        service.plan("create", "stuck")
        hook, stop = QwenImageHook(), threading.Event()
        generation_id = hook.create_task(GenerationRequest(prompt="a kite")).generation_id
        ended: list[Exception] = []

        def wait() -> None:
            try:
                hook.wait_for_task(generation_id, poll_interval=3000, stop=stop)
            except Exception as error:
                ended.append(error)

        thread = threading.Thread(target=wait, daemon=True)
        thread.start()
        while service.report()["requests"]["get"] == 0:
            assert thread.is_alive()
        stop.set()
        thread.join(30)
        assert not thread.is_alive()
        assert isinstance(ended[0], errors.GenerationTimeoutError)

    @pytest.mark.parametrize(
        ("fault", "kind"),
        [
            ({"kind": "refuse", "message": "Invalid API KEY"}, errors.AuthenticationError),
            ({"kind": "refuse", "message": "Task not found"}, errors.NotFoundError),
            ({"kind": "data", "set": {"status": 2, "result_urls": []}}, errors.NoImagesError),
            ({"kind": "http_error", "status": 500, "body": "text", "times": 4}, errors.ServiceError),
            ({"kind": "malformed", "times": 4}, errors.UnexpectedReplyError),
            ({"kind": "http_error", "status": 429, "times": 4}, errors.OverloadedError),
        ],
    )
    def test_errors_are_airflows_and_still_themselves(
        self, fault: dict[str, Any], kind: type[Exception], service: Emulator, monkeypatch: pytest.MonkeyPatch
    ):
        """Each error of a call is an Airflow exception of the right family."""
        monkeypatch.setattr("airflow_provider_qwenimage.api.retrying.Retries._wait", lambda self, state: 0.0)
        hook = QwenImageHook()
        generation_id = hook.create_task(GenerationRequest(prompt="a kite")).generation_id
        service.plan("get", **fault)
        with pytest.raises(kind) as raised:
            hook.get_task(generation_id)
        final = issubclass(kind, (errors.RejectedError, errors.NoImagesError))
        assert type(raised.value).__name__ == kind.__name__
        assert isinstance(raised.value, AirflowException)
        assert isinstance(raised.value, AirflowFailException) == final


@contextmanager
def _web_server(status: int, body: bytes) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@contextmanager
def _as_airflow_tests_it(connection: Any) -> Iterator[None]:
    """Put the connection where its hook finds it: Airflow's API does so under a name of chance."""
    import os

    name = f"AIRFLOW_CONN_{connection.conn_id.upper()}"
    os.environ[name] = connection.get_uri()
    yield
    del os.environ[name]
